use std::fmt;
use std::str::FromStr;

use crate::registry_host::RegistryHostError;
use crate::{Digest, DigestError, RegistryHost};

/// Name of an image: `registry/repository[:tag][@digest]`. The registry is always explicit, so that a mistake
/// never leads to a public one. It is canonical ([`RegistryHost`]): equal names mean the same image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    registry: RegistryHost,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Error of a text that is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {why}")]
pub struct ReferenceError {
    /// Rejected text, shortened to 300 characters.
    pub text: String,
    /// Defect of the text.
    pub why: &'static str,
}

impl ImageReference {
    /// Returns host and optional port of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.registry.as_str()
    }

    /// Returns the registry as its own type.
    #[must_use]
    pub fn registry_host(&self) -> &RegistryHost {
        &self.registry
    }

    /// Returns the path of the repository within the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if the name has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the name has one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns `registry/repository`, which policy patterns are compared with.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the digest if there is one, else the tag, else `latest`: the target of a request to the registry.
    #[must_use]
    pub fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Returns the same repository at another tag, without a digest.
    #[must_use]
    pub fn at_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// Returns the same repository at a digest, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns whether the registry is on this machine, and accessed without TLS.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.registry.is_loopback()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |why| ReferenceError { text: text.chars().take(300).collect(), why };
        if text.len() > 1024 {
            return Err(wrong("it is longer than 1024 bytes"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|error: DigestError| {
                    wrong(match error.algorithm() {
                        Some(_) => "only digests by sha256 are supported; the registry has one, too, for the same image",
                        None => "behind the @ there is no sha256 digest",
                    })
                })?))
            }
            None => (text, None),
        };
        let (registry, path) = rest
            .split_once('/')
            .filter(|(host, _)| host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost"))
            .ok_or_else(|| wrong("it does not begin with a registry, as in quay.io/name/image:tag"))?;
        let registry: RegistryHost = registry.parse().map_err(|error: RegistryHostError| wrong(error.0))?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !repository_is_valid(repository) {
            return Err(wrong(
                "the repository has to be lower-case words of letters, digits and . _ - parted by /",
            ));
        }
        if tag.is_some_and(|tag| !tag_is_valid(tag)) {
            return Err(wrong("the tag has to be 1 to 128 letters, digits and . _ -"));
        }
        // Docker Hub keeps images with one-part names in `library/`.
        let repository = if registry.as_str() == "docker.io" && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

fn repository_is_valid(repository: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    repository.len() <= 255
        && repository.split('/').all(|component| {
            let bytes = component.as_bytes();
            bytes.first().is_some_and(alphanumeric)
                && bytes.last().is_some_and(alphanumeric)
                && bytes.iter().all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'))
                && !component.contains("..")
        })
}

fn tag_is_valid(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reference_reads_back_what_it_writes() {
        for text in [
            "quay.io/bpfman-bytecode/xdp_pass:latest",
            "localhost/a",
            "localhost:5000/a/b.c-d:v1.0",
            "127.0.0.1:5000/a",
            "[::1]:5000/a:b",
            &format!("quay.io/a/b:tag@{DIGEST}"),
            &format!("quay.io/a/b@{DIGEST}"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn reference_needs_the_registry_written_out() {
        for text in ["a", "a/b", "busybox:latest", "UPPER/x", "a/b:c", ""] {
            let error = text.parse::<ImageReference>().unwrap_err();
            assert!(error.why.contains("registry"), "{error}");
        }
    }

    #[test]
    fn reference_refuses_what_could_escape_a_url() {
        for text in [
            "quay.io/../x",
            "quay.io/a//b",
            "quay.io/a?x",
            "quay.io/a#x",
            "quay.io/a b",
            "quay.io/A",
            "quay.io/a:",
            "quay.io/a:b/c",
            "quay.io/a:-b",
            "quay.io/",
            "user@quay.io/a",
            "quay.io:x/a",
            "quay.io:0/a",
            "quay.io:/a",
            "-q.io/a",
            "q..io/a",
            "[::1/a",
            "[::1]5/a",
            "[x]:5/a",
            "quay.io/a@sha256:12",
            "quay.io/a@sha512:12",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
        assert!(format!("quay.io/{}", "a".repeat(2000)).parse::<ImageReference>().is_err());
    }

    #[test]
    fn reference_knows_loopback() {
        for (registry, loopback) in [
            ("127.0.0.1:5000", true),
            ("127.8.8.8", true),
            ("localhost:1", true),
            ("[::1]:5", true),
            ("quay.io", false),
            ("localhost.example.com", false),
            ("10.0.0.1:5000", false),
            ("0.0.0.0:5000", true),
        ] {
            let reference: ImageReference = format!("{registry}/a").parse().unwrap();
            assert_eq!(reference.is_loopback(), loopback, "{registry}");
        }
    }

    #[test]
    fn reference_target_prefers_the_digest() {
        let reference: ImageReference = format!("quay.io/a:b@{DIGEST}").parse().unwrap();
        assert_eq!(reference.target(), DIGEST);
        assert_eq!("quay.io/a:b".parse::<ImageReference>().unwrap().target(), "b");
        assert_eq!("quay.io/a".parse::<ImageReference>().unwrap().target(), "latest");
        assert_eq!("docker.io/a".parse::<ImageReference>().unwrap().repository(), "library/a");
    }

    #[test]
    fn reference_is_written_with_the_one_spelling_of_its_registry() {
        for (text, one) in [
            ("Quay.IO:443/a/b:C", "quay.io/a/b:C"),
            ("LOCALHOST:5000/a", "localhost:5000/a"),
            ("index.docker.io/a:1", "docker.io/library/a:1"),
            ("registry-1.docker.io/team/a", "docker.io/team/a"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), one);
            assert_eq!(reference, one.parse().unwrap());
        }
        let error = "127.1:5000/a".parse::<ImageReference>().unwrap_err();
        assert!(error.why.contains("all four parts"), "{error}");
    }
}

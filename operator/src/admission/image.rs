//! Validation of image references, which every node must interpret in the same way.

/// Error in a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// The registry is missing: each node would choose its own, and thus its signature policy.
    #[error(
        "\"{0}\" does not say which registry it is from, so no signature policy can hold for it: write REGISTRY/{0}"
    )]
    NoRegistry(String),
    #[error(
        "\"{0}\" names no repository: write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST"
    )]
    NoRepository(String),
    #[error("\"{0}\" is no repository: lower-case letters, digits and . _ - / are allowed")]
    Repository(String),
    #[error("\"{0}\" is no digest: sha256: and 64 hexadecimal digits in lower case are allowed")]
    Digest(String),
    #[error("\"{0}\" is no tag: at most 128 letters, digits and . _ - are allowed")]
    Tag(String),
}

/// Kind of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A digest, which always names the same image.
    Digest,
    /// A tag, which names the image that is current when a node pulls it.
    Tag,
}

pub fn read(reference: &str) -> Result<Named, BadReference> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let (registry, path) = name.split_once('/').unwrap_or(("", name));
    // Registry clients distinguish a host from the first part of a path in the same way.
    if !(registry.contains('.') || registry.contains(':') || registry == "localhost") {
        return Err(BadReference::NoRegistry(reference.to_owned()));
    }
    let (repository, tag) = match path.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (path, None),
    };
    if repository.is_empty() {
        return Err(BadReference::NoRepository(reference.to_owned()));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '/');
    if !repository.chars().all(fits) || repository.split('/').any(str::is_empty) {
        return Err(BadReference::Repository(repository.to_owned()));
    }
    if let Some(tag) = tag {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=128).contains(&tag.len()) || !tag.chars().all(fits) || tag.starts_with(['.', '-']) {
            return Err(BadReference::Tag(tag.to_owned()));
        }
    }
    let Some(digest) = digest else { return Ok(Named::Tag) };
    let digits = digest.strip_prefix("sha256:").unwrap_or_default();
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if digits.len() != 64 || !digits.chars().all(is_digit) {
        return Err(BadReference::Digest(digest.to_owned()));
    }
    Ok(Named::Digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fully_named_image_is_taken() {
        let digest = format!("quay.io/a/b@sha256:{}", "0a".repeat(32));
        let both = format!("localhost:5000/b:v1@sha256:{}", "0a".repeat(32));
        for (reference, named) in [
            ("quay.io/bpfman-bytecode/xdp_pass:latest", Named::Tag),
            ("localhost/b", Named::Tag),
            (&digest, Named::Digest),
            (&both, Named::Digest),
        ] {
            assert_eq!(read(reference), Ok(named), "{reference}");
        }
    }

    #[test]
    fn ambiguous_image_reference_is_refused_with_the_reason() {
        for (reference, says) in [
            ("xdp_pass", "which registry"),
            ("bpfman-bytecode/xdp_pass:v1", "which registry"),
            ("quay.io/", "no repository"),
            ("quay.io/A/b:v1", "lower-case"),
            ("quay.io/a//b:v1", "lower-case"),
            ("quay.io/a/b:", "no tag"),
            ("quay.io/a/b:-v", "no tag"),
            ("quay.io/a/b@sha256:12", "no digest"),
            ("quay.io/a/b@md5:12", "no digest"),
        ] {
            let error = read(reference).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{reference}: {error}");
        }
    }
}

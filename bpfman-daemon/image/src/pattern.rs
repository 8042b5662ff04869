use std::fmt;
use std::str::FromStr;

use bpfman_image_format::{ImageReference, RegistryHost};

/// Pattern of names: `registry/repository` with `*` for any characters, or `*` for every repository. The registry is
/// compared by itself, normalised ([`RegistryHost`]): no other registry's repository can look like a trusted one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pattern {
    registry: String,
    repository: String,
}

/// Pattern that cannot have the intended meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pattern of repositories: {why}")]
pub struct PatternError {
    pub text: String,
    pub why: &'static str,
}

impl Pattern {
    /// Returns whether the pattern covers a repository; a registry on this machine is matched by any of its names.
    #[must_use]
    pub fn covers(&self, image: &ImageReference) -> bool {
        let mut names = image.registry_host().names();
        names.any(|name| glob(self.registry.as_bytes(), name.as_bytes()))
            && glob(self.repository.as_bytes(), image.repository().as_bytes())
    }
}

impl Pattern {
    /// Returns the pattern `*`.
    #[must_use]
    pub fn all() -> Self {
        Self { registry: "*".to_owned(), repository: "*".to_owned() }
    }

    pub(crate) fn covers_all(&self) -> bool {
        self.registry == "*" && self.repository == "*"
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |why| PatternError { text: text.to_owned(), why };
        if text == "*" {
            return Ok(Self::all());
        }
        let (registry, repository) = text
            .split_once('/')
            .ok_or_else(|| wrong("it needs registry and repository, as in quay.io/name/*, or * alone"))?;
        if !registry.contains(['.', ':', '*']) && !registry.eq_ignore_ascii_case("localhost") {
            return Err(wrong("it does not begin with a registry"));
        }
        if repository.contains([':', '@']) {
            return Err(wrong("tags and digests are not part of it"));
        }
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'[' | b']' | b'{' | b'}' | b'\\');
        // IPv6 addresses have brackets; elsewhere they would look like a character class.
        let registry_plain = |byte: u8| plain(byte) || matches!(byte, b'[' | b']');
        if repository.is_empty() || !repository.bytes().all(plain) || !registry.bytes().all(registry_plain) {
            return Err(wrong("besides * it may only hold what names of repositories hold"));
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(wrong("repositories are written in lower case"));
        }
        let registry = if registry.contains('*') {
            registry.to_ascii_lowercase().trim_end_matches(":443").to_owned()
        } else {
            let host: RegistryHost =
                registry.parse().map_err(|_| wrong("its registry is not a host with an optional port"))?;
            host.to_string()
        };
        let single = registry == "docker.io" && !repository.contains(['/', '*']);
        let repository = if single { format!("library/{repository}") } else { repository.to_owned() };
        Ok(Self { registry, repository })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.covers_all() {
            return f.write_str("*");
        }
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, image: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().covers(&image.parse().unwrap())
    }

    #[test]
    fn pattern_covers_what_its_stars_stand_for() {
        assert!(covers("*", "quay.io/a/b:c"));
        assert!(covers("quay.io/a/b", "quay.io/a/b:c"));
        assert!(covers("quay.io/a/*", "quay.io/a/b/c"));
        assert!(covers("quay.io/*", "quay.io/a/b"));
        assert!(covers("quay.io/a/x*y", "quay.io/a/x-1-y"));
        assert!(covers("*.example.com/a", "eu.example.com/a"));
        assert!(covers("127.0.0.1:*/demo/*", "127.0.0.1:5000/demo/a"));
        assert!(covers("[::1]:5000/a*", "[::1]:5000/a"));
        assert!(!covers("quay.io/a", "quay.io/a/b"));
        assert!(!covers("quay.io/a/b", "quay.io/a"));
        assert!(!covers("quay.io/a/x*y", "quay.io/a/x-1-z"));
    }

    #[test]
    fn pattern_covers_every_spelling_of_its_registry() {
        for pattern in ["quay.io/a", "Quay.IO/a", "quay.io:443/a", "*.io/a", "*.IO:443/a", "*/a"] {
            for image in ["quay.io/a", "QUAY.io/a", "quay.io:443/a", "quay.io:0443/a"] {
                assert!(covers(pattern, image), "{pattern} {image}");
            }
        }
        for pattern in ["docker.io/team/*", "index.docker.io/team/*", "registry-1.docker.io/team/*"] {
            for image in ["docker.io/team/a", "index.docker.io/team/a", "registry.hub.docker.com/team/a"] {
                assert!(covers(pattern, image), "{pattern} {image}");
            }
        }
        assert!(covers("docker.io/busybox", "index.docker.io/library/busybox"));
        assert!(covers("[0:0::1]:5000/a", "[::1]:5000/a"));
        assert!(!covers("quay.io:8443/a", "quay.io/a"));
    }

    #[test]
    fn pattern_of_this_machine_covers_each_of_its_names() {
        let names =
            ["localhost:5000", "LOCALHOST:5000", "127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"];
        for pattern in names.iter().chain(&["127.0.0.1:*", "local*:5000", "[::1]:*"]) {
            for image in names {
                assert!(covers(&format!("{pattern}/a"), &format!("{image}/a")), "{pattern} {image}");
            }
            assert!(!covers(&format!("{pattern}/a"), "quay.io/a"), "{pattern}");
        }
        assert!(covers("localhost/a", "127.0.0.1:80/a") && !covers("localhost:5000/a", "127.0.0.1:5001/a"));
        // A registry that listens on all addresses of the machine is also reachable there.
        assert!(
            covers("localhost:5000/a", "127.0.0.2:5000/a") && !covers("127.0.0.2:5000/a", "localhost:5000/a")
        );
        assert!(!covers("127.0.0.1/a", "10.0.0.1/a") && !covers("localhost/a", "localhost.example.com/a"));
    }

    #[test]
    fn pattern_of_a_registry_is_not_met_by_a_path_elsewhere() {
        assert!(!covers("*.example.com/a", "evil.io/x.example.com/a"));
        assert!(!covers("quay.io/*", "evil.io/quay.io/a"));
        assert!(!covers("*/a/b", "evil.io/quay.io/a/b"));
        assert!(!covers("quay.io/*", "quay.io:444/a"));
    }

    #[test]
    fn pattern_refuses_what_cannot_match() {
        for text in [
            "",
            "a",
            "a/b",
            "quay.io",
            "quay.io/",
            "quay.io/a:b",
            "quay.io/A",
            "quay.io/a?",
            "quay.io/[ab]",
            "127.1/a",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}

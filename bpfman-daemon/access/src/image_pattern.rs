//! Patterns of images.

use std::fmt;
use std::str::FromStr;

use bpfman_image_name::{ImageReference, RegistryHost};
use bpfman_model::Glob;

use crate::BadPattern;

/// Pattern of images: `registry.example.com/network/*`. Registry and repository are compared separately: a
/// pattern never matches a repository of another registry. `*` alone matches all images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePattern {
    registry: Glob,
    rest: Glob,
    text: String,
}

impl ImagePattern {
    /// Returns whether the pattern matches an image. A registry of this machine matches by each of its names. A pattern
    /// without a tag matches all tags.
    #[must_use]
    pub fn matches(&self, image: &ImageReference) -> bool {
        let mut names = image.registry_host().names();
        let whole = decisive_name(image).to_string();
        let rest = whole.split_once('/').map_or("", |(_, rest)| rest);
        names.any(|name| self.registry.matches(&name))
            && (self.rest.matches(image.repository()) || self.rest.matches(rest))
    }
}

impl FromStr for ImagePattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (registry, rest) = match text.split_once('/') {
            Some((_, "") | ("", _)) => return Err(BadPattern::Image(text.to_owned())),
            Some((registry, rest)) => (registry_pattern(registry), rest),
            None if text == "*" => (text.to_owned(), text),
            None => return Err(BadPattern::Image(text.to_owned())),
        };
        // Docker Hub keeps single names in the folder `library`, as names of images do.
        let is_single = registry == "docker.io" && !rest.contains(['/', '*']);
        let rest = if is_single { format!("library/{rest}") } else { rest.to_owned() };
        Ok(Self { registry: Glob::parse(&registry)?, rest: Glob::parse(&rest)?, text: text.to_owned() })
    }
}

/// Returns the name without a tag if it has a digest: then only the digest decides which content is loaded.
pub(crate) fn decisive_name(image: &ImageReference) -> ImageReference {
    image.digest().map_or_else(|| image.clone(), |digest| image.at_digest(digest))
}

/// Returns the pattern of a registry in the normal spelling of image names.
fn registry_pattern(text: &str) -> String {
    match text.parse::<RegistryHost>() {
        Ok(host) => Glob::literally(host.as_str()),
        // Names of images never contain the default port.
        Err(_) => text.to_ascii_lowercase().trim_end_matches(":443").to_owned(),
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn images_are_named_by_registry_and_repository_apart() {
        let takes = |pattern: &str, image: &str| {
            pattern.parse::<ImagePattern>().unwrap().matches(&image.parse().unwrap())
        };
        assert!(takes("quay.io/team/*", "quay.io/team/a/b:v1") && takes("*", "quay.io/a"));
        assert!(takes("*.example.com/team/*", "eu.example.com/team/a:v1"));
        assert!(!takes("*.example.com/team/*", "evil.io/x.example.com/team/a:v1"));
        assert!(!takes("*/team/a", "evil.io/x/team/a") && !takes("quay.io/*", "quay.io.evil.com/a"));
        assert!(takes("quay.io/a:v*", "quay.io/a:v1") && !takes("quay.io/a:v*", "quay.io/a:w1"));
        assert!(takes("quay.io/a", "quay.io/a:v1") && !takes("quay.io/a", "quay.io/ab"));
        for wrong in ["", "/a", "quay.io/", "quay.io/[", "quay.io*", "quay.io", "/", "**"] {
            assert!(wrong.parse::<ImagePattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tag_beside_a_digest_is_not_compared() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let takes = |pattern: &str, image: &str| {
            pattern.parse::<ImagePattern>().unwrap().matches(&format!("{image}@{digest}").parse().unwrap())
        };
        assert!(!takes("quay.io/a:v*", "quay.io/a:v1") && !takes("quay.io/a:*", "quay.io/a:v1"));
        assert!(
            takes("quay.io/a", "quay.io/a:v1")
                && takes("quay.io/*", "quay.io/a:v1")
                && takes("*", "quay.io/a")
        );
        assert!(
            takes(&format!("quay.io/a@{digest}"), "quay.io/a:v1")
                && takes("quay.io/a@sha256:e3*", "quay.io/a")
        );
    }

    #[test]
    fn each_spelling_of_a_registry_is_covered() {
        let takes = |pattern: &str, image: &str| {
            pattern.parse::<ImagePattern>().unwrap().matches(&image.parse().unwrap())
        };
        let names =
            ["localhost:5000", "LOCALHOST:05000", "127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"];
        for pattern in names.iter().chain(&["127.0.0.1:*", "local*:5000"]) {
            for image in names {
                assert!(takes(&format!("{pattern}/a/*"), &format!("{image}/a/b:v1")), "{pattern} {image}");
            }
            assert!(!takes(&format!("{pattern}/a"), "quay.io/a"), "{pattern}");
        }
        assert!(takes("quay.io/a", "QUAY.io:443/a") && takes("QUAY.IO:443/a", "quay.io/a"));
        assert!(takes("*.Example.com:443/a", "eu.example.com/a"));
        assert!(
            takes("docker.io/a", "index.docker.io/library/a") && takes("docker.io/library/*", "docker.io/a")
        );
    }

    proptest! {
        #[test]
        fn image_of_another_registry_is_not_taken(
            registry in "[a-z*]{1,4}\\.io", other in "[a-z]{1,4}\\.com", repository in "[a-z]{1,4}(\\.io)?(/[a-z]{1,4}){0,2}", rest in "[a-z*]{1,4}",
        ) {
            let pattern: ImagePattern = format!("{registry}/{rest}").parse().unwrap();
            let elsewhere: ImageReference = format!("{other}/{repository}").parse().unwrap();
            prop_assert!(!pattern.matches(&elsewhere));
        }
    }
}

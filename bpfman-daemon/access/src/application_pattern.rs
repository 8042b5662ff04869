//! Patterns of applications.

use std::fmt;
use std::str::FromStr;

use bpfman_model::{Glob, OwningApplication, OwningApplicationName};

use crate::BadPattern;

/// Pattern of applications: `shop/*`, `*/firewall`, or `firewall` for a cluster application. `*` alone matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationPattern {
    namespace: NamespacePattern,
    name: Glob,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NamespacePattern {
    Cluster,
    Namespaces(Glob),
    Any,
}

impl ApplicationPattern {
    /// Returns the replacement of a pattern without a slash, which earlier versions compared with both parts.
    #[must_use]
    pub(crate) fn successor(&self, application: &OwningApplication) -> Option<String> {
        let is_meant = self.namespace == NamespacePattern::Cluster
            && application.namespace.is_some()
            && self.name.matches(&application.to_string());
        let covers = |text: &String| text.parse::<Self>().is_ok_and(|pattern| pattern.matches(application));
        is_meant.then(|| format!("{}/*", self.text)).filter(covers)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.namespace == NamespacePattern::Any
    }

    /// Returns whether the pattern covers an application. Namespace and name are compared separately.
    #[must_use]
    pub fn matches(&self, application: &OwningApplication) -> bool {
        let in_namespace = match (&self.namespace, &application.namespace) {
            (NamespacePattern::Any, _) | (NamespacePattern::Cluster, None) => true,
            (NamespacePattern::Namespaces(pattern), Some(namespace)) => pattern.matches(namespace.as_str()),
            (NamespacePattern::Cluster, Some(_)) | (NamespacePattern::Namespaces(_), None) => false,
        };
        in_namespace && self.name.matches(application.name.as_ref().map_or("", OwningApplicationName::as_str))
    }
}

impl FromStr for ApplicationPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (namespace, name) = match text.split_once('/') {
            Some((_, name)) if name.contains('/') => return Err(BadPattern::Application(text.to_owned())),
            Some((namespace, name)) => (NamespacePattern::Namespaces(Glob::parse(namespace)?), name),
            None if text == "*" => (NamespacePattern::Any, text),
            None => (NamespacePattern::Cluster, text),
        };
        Ok(Self { namespace, name: Glob::parse(name)?, text: text.to_owned() })
    }
}

impl fmt::Display for ApplicationPattern {
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
    fn applications_are_named_by_namespace_and_name_apart() {
        let takes = |pattern: &str, namespace: Option<&str>, name: &str| {
            // Includes names that no load may claim: records of earlier versions have them.
            let application = OwningApplication::recorded(namespace, name);
            pattern.parse::<ApplicationPattern>().unwrap().matches(&application)
        };
        assert!(takes("shop/*", Some("shop"), "wall") && takes("shop/*", Some("shop"), ""));
        assert!(!takes("shop/*", None, "shop/wall") && !takes("shop/*", None, "wall"));
        assert!(!takes("shop/*", Some("shop/x"), "wall") && !takes("s*", Some("shop"), "wall"));
        assert!(takes("s*", None, "shop") && takes("s*/*", Some("shop"), "wall"));
        assert!(!takes("*/*", None, "wall") && takes("*/wall", Some("a"), "wall"));
        assert!(takes("*", None, "wall") && takes("*", Some("shop"), "wall") && takes("*", None, ""));
        for wrong in ["", "/", "a/", "/b", "a/b/c", "a/[", "[a/b]"] {
            assert!(wrong.parse::<ApplicationPattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn pattern_that_covered_namespaces_has_a_successor() {
        let successor = |pattern: &str, namespace: Option<&str>| {
            let application = OwningApplication::parse(namespace, "x").unwrap();
            pattern.parse::<ApplicationPattern>().unwrap().successor(&application)
        };
        assert_eq!(successor("team-*", Some("team-a")).as_deref(), Some("team-*/*"));
        for (pattern, namespace) in [
            ("team-*", Some("shop")),
            ("team-*/*", Some("team-a")),
            ("*x", Some("a")),
            ("x*", None),
            ("*", None),
        ] {
            assert_eq!(successor(pattern, namespace), None, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn pattern_of_a_namespace_takes_no_cluster_application(
            namespace in "[a-z*?]{1,4}", pattern in "[a-z*?]{1,4}", name in "[a-z/]{0,6}",
        ) {
            let pattern: ApplicationPattern = format!("{namespace}/{pattern}").parse().unwrap();
            prop_assert!(!pattern.matches(&OwningApplication::recorded(None, &name)));
        }

        #[test]
        fn any_text_is_a_pattern_or_refused(text in ".{0,20}", namespace in "[a-z]{1,4}", name in "[a-z]{1,4}") {
            if let Ok(pattern) = text.parse::<ApplicationPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                let _taken = pattern.matches(&OwningApplication::parse(Some(&namespace), &name).unwrap());
            }
        }
    }
}

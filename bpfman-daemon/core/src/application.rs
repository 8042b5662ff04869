//! Names of applications of Kubernetes, and of their namespaces.

use std::fmt;

/// Longest name of a namespace, and of each part of an application's name.
const MAX_LABEL: usize = 63;
/// Longest name of an application.
const MAX_NAME: usize = 253;

/// The name of a namespace: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceName(String);

/// The name of an application within its namespace, or among cluster applications: DNS labels with dots between them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwningApplicationName(String);

/// An application of Kubernetes, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwningApplication {
    /// Its namespace; none for cluster applications.
    pub namespace: Option<NamespaceName>,
    /// Its name; none where a client says none.
    pub name: Option<OwningApplicationName>,
}

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {reason}")]
pub struct BadApplicationName {
    text: String,
    reason: &'static str,
}

impl NamespaceName {
    /// Reads a name.
    ///
    /// # Errors
    /// It is no DNS label: 1 to 63 lower-case letters, digits and dashes, neither the first nor the last of them a dash.
    pub fn parse(text: &str) -> Result<Self, BadApplicationName> {
        match label_fault(text) {
            Some(reason) => Err(BadApplicationName::new(text, reason)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwningApplicationName {
    /// Reads a name.
    ///
    /// # Errors
    /// It has more than 253 characters, or a part between dots is no DNS label.
    pub fn parse(text: &str) -> Result<Self, BadApplicationName> {
        if text.len() > MAX_NAME {
            return Err(BadApplicationName::new(text, "is longer than 253 characters"));
        }
        match text.split('.').find_map(label_fault) {
            Some(reason) => Err(BadApplicationName::new(text, reason)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwningApplication {
    /// Reads the names of an application. An empty name is none.
    ///
    /// # Errors
    /// One is no name.
    pub fn parse(namespace: Option<&str>, name: &str) -> Result<Self, BadApplicationName> {
        let namespace = namespace.map(NamespaceName::parse).transpose()?;
        let name = (!name.is_empty()).then(|| OwningApplicationName::parse(name)).transpose()?;
        Ok(Self { namespace, name })
    }

    /// Takes the names of an application from a record. Earlier versions took any text for one.
    #[must_use]
    pub fn recorded(namespace: Option<&str>, name: &str) -> Self {
        Self {
            namespace: namespace.map(|name| NamespaceName(name.to_owned())),
            name: (!name.is_empty()).then(|| OwningApplicationName(name.to_owned())),
        }
    }
}

impl BadApplicationName {
    fn new(text: &str, reason: &'static str) -> Self {
        let shown = text.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        Self { text: shown, reason }
    }
}

fn label_fault(text: &str) -> Option<&'static str> {
    let is_of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match text {
        "" => Some("is empty, or has a part that is"),
        _ if text.len() > MAX_LABEL => Some("is longer than 63 characters, or has a part that is"),
        _ if text.contains('/') => Some("has a slash: a namespace and a name are written apart"),
        _ if !text.bytes().all(is_of_label) => {
            Some("has other characters than lower-case letters, digits and dashes")
        }
        _ if text.starts_with('-') || text.ends_with('-') => Some("begins or ends with a dash"),
        _ => None,
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OwningApplicationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OwningApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map_or("", OwningApplicationName::as_str);
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{name}"),
            None => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_dns_labels() {
        let most = "a".repeat(63);
        for name in ["a", "0", "shop", "my-app-2", &most] {
            assert_eq!(NamespaceName::parse(name).unwrap().as_str(), name);
            assert_eq!(OwningApplicationName::parse(name).unwrap().as_str(), name);
        }
        assert!(
            OwningApplicationName::parse("team.firewall").is_ok()
                && NamespaceName::parse("team.firewall").is_err()
        );
        for (name, why) in [
            ("", "is empty"),
            ("shop/wall", "has a slash"),
            ("/", "has a slash"),
            ("Shop", "other characters"),
            ("a_b", "other characters"),
            ("a b", "other characters"),
            ("ä", "other characters"),
            ("a\n", "other characters"),
            ("-a", "begins or ends with a dash"),
            ("a-", "begins or ends with a dash"),
            (&"a".repeat(64), "longer than 63"),
        ] {
            for error in
                [NamespaceName::parse(name).unwrap_err(), OwningApplicationName::parse(name).unwrap_err()]
            {
                assert!(
                    error.to_string().contains(why) && !error.to_string().contains('\n'),
                    "{name}: {error}"
                );
            }
        }
        for name in
            [".", "a.", ".a", "a..b", "a.-b", "..", &"a.".repeat(127), &format!("{}a", "a.".repeat(127))]
        {
            assert!(OwningApplicationName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn application_without_a_name_is_written_without_one() {
        let none = OwningApplication::parse(None, "").unwrap();
        assert_eq!((none.name.clone(), none.to_string().as_str()), (None, ""));
        assert_eq!(OwningApplication::parse(Some("shop"), "a").unwrap().to_string(), "shop/a");
        assert!(OwningApplication::parse(Some(""), "a").is_err());
        assert_eq!(OwningApplication::recorded(None, "A b").to_string(), "A b");
    }

    proptest! {
        #[test]
        fn no_two_applications_are_written_alike(
            one in proptest::option::of("[a-z0-9./-]{0,6}"), first in "[a-z0-9./-]{0,6}",
            other in proptest::option::of("[a-z0-9./-]{0,6}"), second in "[a-z0-9./-]{0,6}",
        ) {
            let read = (OwningApplication::parse(one.as_deref(), &first), OwningApplication::parse(other.as_deref(), &second));
            if let (Ok(one), Ok(other)) = read {
                prop_assert_eq!(one == other, one.to_string() == other.to_string());
            }
        }

        #[test]
        fn any_text_is_a_name_or_refused_in_one_line(text in ".{0,300}") {
            for read in [NamespaceName::parse(&text).map(|name| name.0), OwningApplicationName::parse(&text).map(|name| name.0)] {
                match read {
                    Ok(name) => prop_assert!(name == text && !name.contains(['/', ' ', ':']) && name != ".." && !name.is_empty()),
                    Err(error) => prop_assert!(!error.to_string().contains('\n')),
                }
            }
        }
    }
}

//! Names of Kubernetes applications and of their namespaces.

use std::fmt;

/// Maximum length of a namespace's name: that of a DNS label.
const MAX_NAMESPACE: usize = 63;
/// Maximum length of an application's name: that of a DNS subdomain. Kubernetes does not limit its parts.
const MAX_NAME: usize = 253;

/// Name of a namespace: a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceName(String);

/// Name of an application within its namespace, or among cluster applications: a DNS subdomain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwningApplicationName(String);

/// Kubernetes application, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwningApplication {
    /// Namespace; `None` for cluster applications.
    pub namespace: Option<NamespaceName>,
    /// Name; `None` if the client sends none.
    pub name: Option<OwningApplicationName>,
}

/// Invalid name of an application or a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" {reason}", .text.escape_debug())]
pub struct BadApplicationName {
    text: String,
    reason: &'static str,
}

impl NamespaceName {
    /// Parses a name.
    ///
    /// # Errors
    /// The name is no DNS label: 1 to 63 lower-case letters, digits and dashes, no dash at either end.
    pub fn parse(text: &str) -> Result<Self, BadApplicationName> {
        let fault = match text {
            _ if text.len() > MAX_NAMESPACE => Some("is longer than the 63 characters of a namespace's name"),
            _ if text.contains('.') => Some("has a dot, which no namespace has in its name"),
            _ => fault(text),
        };
        match fault {
            Some(reason) => Err(BadApplicationName::new(text, reason)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwningApplicationName {
    /// Parses a name.
    ///
    /// # Errors
    /// The name is no DNS subdomain: 1 to 253 lower-case letters, digits, dashes and dots, where each part begins and
    /// ends with a letter or digit.
    pub fn parse(text: &str) -> Result<Self, BadApplicationName> {
        let is_long = text.len() > MAX_NAME;
        match is_long.then_some("is longer than 253 characters").or_else(|| fault(text)) {
            Some(reason) => Err(BadApplicationName::new(text, reason)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OwningApplication {
    /// Parses the names of an application. An empty name means none. Errors: one of the names is invalid.
    pub fn parse(namespace: Option<&str>, name: &str) -> Result<Self, BadApplicationName> {
        let namespace = namespace.map(NamespaceName::parse).transpose()?;
        let name = (!name.is_empty()).then(|| OwningApplicationName::parse(name)).transpose()?;
        Ok(Self { namespace, name })
    }

    /// Creates an application from a record without checking the names: earlier versions accepted any text.
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
        let shown = text.chars().take(MAX_NAME).collect();
        Self { text: shown, reason }
    }
}

/// Returns the first fault of a DNS subdomain, except its length.
fn fault(text: &str) -> Option<&'static str> {
    let is_of_name =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    match text {
        "" => Some("is empty"),
        _ if text.contains('/') => Some("has a slash: a namespace and a name are written apart"),
        _ if !text.bytes().all(is_of_name) => {
            Some("has other characters than lower-case letters, digits, dashes and dots")
        }
        _ if text.split('.').any(|part| part.is_empty() || part.starts_with('-') || part.ends_with('-')) => {
            Some(
                "has a dash or a dot where a letter or digit has to be: at its beginning, its end, or beside a dot",
            )
        }
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
    fn names_are_those_of_kubernetes() {
        let most = "a".repeat(63);
        for name in ["a", "0", "shop", "my-app-2", &most] {
            assert_eq!(NamespaceName::parse(name).unwrap().as_str(), name);
            assert_eq!(OwningApplicationName::parse(name).unwrap().as_str(), name);
        }
        // Kubernetes accepts subdomains with parts longer than a DNS label.
        for name in ["team.firewall", &"a".repeat(64), &"a".repeat(253), &format!("{}a", "a.".repeat(126))] {
            assert_eq!(OwningApplicationName::parse(name).unwrap().as_str(), name);
            assert!(NamespaceName::parse(name).is_err(), "{name}");
        }
        for (name, why) in [
            ("", "is empty"),
            ("shop/wall", "has a slash"),
            ("/", "has a slash"),
            ("Shop", "dashes and dots"),
            ("a_b", "dashes and dots"),
            ("a b", "dashes and dots"),
            ("ä", "dashes and dots"),
            ("a\n", "dashes and dots"),
            ("-a", "at its beginning"),
            ("a-", "its end"),
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
        for (name, why) in [
            (".", "beside a dot"),
            ("a.", "its end"),
            (".a", "at its beginning"),
            ("a..b", "beside a dot"),
            ("a.-b", "beside a dot"),
            ("..", "beside a dot"),
            (&"a".repeat(254), "longer than 253"),
        ] {
            let error = OwningApplicationName::parse(name).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        for (name, why) in [("team.a", "has a dot"), (&"a".repeat(64), "longer than the 63")] {
            let error = NamespaceName::parse(name).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
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

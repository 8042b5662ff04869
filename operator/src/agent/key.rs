//! Names: of an application, and of the state object that answers for it on one node.

use std::fmt;

use bpfman_apply::content::hexadecimal;
use sha2::{Digest as _, Sha256};

/// The longest value of a label.
const LABEL_BYTES: usize = 63;

/// The longest name of an object.
const NAME_BYTES: usize = 253;

/// Hexadecimal digits at the end of a state object's name.
const DIGITS: usize = 8;

/// Which of the two kinds of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `ClusterBpfApplication`.
    Cluster,
    /// `BpfApplication`.
    Namespaced,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cluster, Self::Namespaced];

    /// Kind of the applications.
    #[must_use]
    pub const fn application_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplication",
            Self::Namespaced => "BpfApplication",
        }
    }

    /// Kind of the state objects.
    #[must_use]
    pub const fn state_kind(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterBpfApplicationState",
            Self::Namespaced => "BpfApplicationState",
        }
    }

    /// What an agent writes into a state object's finalizers until its programs are unloaded. The published names.
    #[must_use]
    pub const fn finalizer(self) -> &'static str {
        match self {
            Self::Cluster => "bpfman.io.clbpfapplicationcontroller/finalizer",
            Self::Namespaced => "bpfman.io.nsbpfapplicationcontroller/finalizer",
        }
    }
}

/// One application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationKey {
    /// Its kind.
    pub scope: Scope,
    /// Its namespace, if it is namespaced.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ApplicationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.scope.application_kind())?;
        if let Some(namespace) = &self.namespace {
            write!(formatter, "{namespace}/")?;
        }
        formatter.write_str(&self.name)
    }
}

/// Name of the state object of an application on a node.
///
/// It follows from application and node alone: an agent that starts again, or a second one, arrives at the same name,
/// and the API server lets only one of them make it. An application that is deleted and made again has another uid,
/// and so another state object.
#[must_use]
pub fn state_name(application: &str, uid: &str, node: &str) -> String {
    let room = NAME_BYTES - DIGITS - 1;
    format!("{}-{}", cut(application, room), digits(&[uid, node]))
}

/// A name as the value of a label. Longer ones than a label may have are cut, and told apart by a hash.
#[must_use]
pub fn label(name: &str) -> String {
    if name.len() <= LABEL_BYTES {
        return name.to_owned();
    }
    format!("{}-{}", cut(name, LABEL_BYTES - DIGITS - 1), digits(&[name]))
}

/// The beginning of a name, ending in a letter or digit.
fn cut(name: &str, bytes: usize) -> &str {
    // Names of objects are ASCII; anything else is cut where it can be.
    let end = (0..=bytes.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name[..end].trim_end_matches(|end: char| !end.is_ascii_alphanumeric())
}

/// Eight hexadecimal digits that follow from the parts.
fn digits(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hexadecimal(&hash.finalize()[..DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use super::{label, state_name};

    #[test]
    fn one_application_on_one_node_has_one_name() {
        let name = state_name("firewall", "uid-1", "node-a");
        assert_eq!(name, state_name("firewall", "uid-1", "node-a"));
        let (application, digits) = name.rsplit_once('-').unwrap_or_default();
        assert_eq!(application, "firewall");
        assert!(digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{name}");
    }

    #[test]
    fn another_node_and_another_life_have_other_names() {
        let name = state_name("firewall", "uid-1", "node-a");
        assert_ne!(name, state_name("firewall", "uid-1", "node-b"));
        assert_ne!(name, state_name("firewall", "uid-2", "node-a"));
        // Not the same text differently divided.
        assert_ne!(state_name("firewall", "a", "bc"), state_name("firewall", "ab", "c"));
    }

    #[test]
    fn long_names_fit_and_stay_different() {
        let (one, other) = (format!("{}a", "x.".repeat(126)), format!("{}b", "x.".repeat(126)));
        assert_eq!(state_name(&one, "uid", "node").len(), 253 - 1, "a dot before the digits is left out");
        for name in [&one, &other] {
            assert!(label(name).len() <= 63, "{}", label(name));
        }
        assert_ne!(label(&one), label(&other));
        assert_eq!(label("short"), "short");
    }
}

//! Names of state objects, and values of their labels.

use sha2::{Digest as _, Sha256};

/// Bounds of Kubernetes, in bytes.
const LABEL_BYTES: usize = 63;

const NAME_BYTES: usize = 253;

const DIGITS: usize = 8;

/// Returns the name of the state object of an application on a node.
///
/// The name depends only on application and node: all agents compute the same one, and the API server lets
/// one of them create the object. A recreated application has another uid, and so another state object.
#[must_use]
pub fn state_name(application: &str, uid: &str, node: &str) -> String {
    let room = NAME_BYTES - DIGITS - 1;
    format!("{}-{}", cut(application, room), digits(&[uid, node]))
}

/// Returns a name as a label value. Names that are too long are cut and end in a hash to stay distinct.
#[must_use]
pub fn label(name: &str) -> String {
    if name.len() <= LABEL_BYTES {
        return name.to_owned();
    }
    format!("{}-{}", cut(name, LABEL_BYTES - DIGITS - 1), digits(&[name]))
}

fn cut(name: &str, bytes: usize) -> &str {
    name[..name.floor_char_boundary(bytes)].trim_end_matches(|end: char| !end.is_ascii_alphanumeric())
}

fn digits(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    bpfman_model::hexadecimal(&hash[..DIGITS / 2])
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
        // The length of each part is hashed, so that the same text divided differently gives another name.
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

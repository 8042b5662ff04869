//! Names of state objects, and of what they are labelled with.

use sha2::{Digest as _, Sha256};

/// The longest value of a label.
const LABEL_BYTES: usize = 63;

/// The longest name of an object.
const NAME_BYTES: usize = 253;

/// Hexadecimal digits at the end of a state object's name.
const DIGITS: usize = 8;

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
    name[..name.floor_char_boundary(bytes)].trim_end_matches(|end: char| !end.is_ascii_alphanumeric())
}

/// Eight hexadecimal digits that follow from the parts.
fn digits(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    hash.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
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

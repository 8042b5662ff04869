//! Names of network interfaces, as the kernel accepts them.

use std::path::PathBuf;

use crate::Interface;

/// Maximum length of a name, in bytes: alternative names (`ip link property add`) may have more than the first.
const MAX_BYTES: usize = 127;

/// An invalid name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interface name \"{}\" {reason}", .name.escape_debug())]
pub struct BadInterfaceName {
    name: String,
    reason: &'static str,
}

impl Interface {
    /// Parses the name of an interface in a network namespace, or in the daemon's own.
    ///
    /// # Errors
    /// The name is empty, `.` or `..`, longer than 127 bytes, or has a colon, a slash, a blank or a control character.
    /// Some kernel calls read a name up to its first colon, and would find another interface.
    pub fn parse(name: &str, netns: Option<PathBuf>) -> Result<Self, BadInterfaceName> {
        match fault(name) {
            Some(reason) => {
                let shown = name.chars().take(MAX_BYTES).collect();
                Err(BadInterfaceName { name: shown, reason })
            }
            None => Ok(Self { name: name.to_owned(), netns }),
        }
    }
}

fn fault(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("is empty"),
        "." | ".." => Some("is that of a folder"),
        _ if name.len() > MAX_BYTES => Some("is longer than 127 bytes"),
        _ if name.contains(':') => Some("has a colon, which no interface has in its name"),
        _ if name.contains('/') => Some("has a slash, which no interface has in its name"),
        _ if name.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Some("has a blank or a control character, which no interface has in its name")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        let most = "x".repeat(127);
        for name in ["lo", "eth0.100", "veth-1@2", "ä", "wlp2s0f0np0-a-long-alternative-name", &most] {
            assert_eq!(Interface::parse(name, None).unwrap().name, name);
        }
        for (name, why) in [
            ("", "is empty"),
            (".", "a folder"),
            ("..", "a folder"),
            ("v0:.100", "a colon"),
            ("v0/.100", "a slash"),
            ("../v0", "a slash"),
            ("v 0", "a blank"),
            ("v0\n", "a control"),
            ("v0\0", "a control"),
            (&"x".repeat(128), "longer than 127"),
        ] {
            let error = Interface::parse(name, None).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains(char::is_control), "{name}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_whole_or_refused(name in ".{0,140}") {
            if let Ok(interface) = Interface::parse(&name, None) {
                prop_assert_eq!(&interface.name, &name);
                prop_assert!(!name.contains([':', '/', ' ', '\t', '\n', '\0']));
            }
        }
    }
}

//! Intents: positions of members relative to others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::LinkId;

/// Maximum number of anchors before, and of anchors after, one member.
pub const MAX_ANCHORS: usize = 16;

/// Maximum length of a role, and of a name in an anchor, in bytes.
const MAX_NAME: usize = 127;

/// Number of bytes of a program's name that the kernel keeps.
pub(super) const KERNEL_NAME: usize = 15;

/// Purpose of a member in its chain, in a word of the users' choice, such as `firewall`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(String);

impl Role {
    /// Returns the role as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Role {
    type Err = BadAnchor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(plain) {
            return Err(BadAnchor::Role(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Entry of the same hook that a member runs before or after.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Anchor {
    /// Link of this daemon.
    Link(LinkId),
    /// All links of this daemon with a program of this name.
    Program(String),
    /// All links of this daemon with this role.
    Role(Role),
    /// Third-party programs, by the name that the kernel keeps (its first 15 bytes) or by the kernel's id.
    Foreign(String),
}

/// Invalid role or anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnchor {
    /// Invalid role.
    #[error("\"{0}\" is no role: a role has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores")]
    Role(String),
    /// Invalid anchor.
    #[error(
        "\"{0}\" names nothing to run before or after: expected a link id, a program's name, role=NAME or foreign:NAME"
    )]
    Anchor(String),
    /// Number that is no link id.
    #[error("\"{0}\" is no link id: they are numbers from 1 to {max}", max = u32::MAX)]
    Link(String),
}

impl FromStr for Anchor {
    type Err = BadAnchor;

    /// Parses `<link id>`, `<program name>`, `role=<role>` or `foreign:<name or program id>`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadAnchor::Anchor(text.to_owned());
        let name = |name: &str| {
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '=' | ':' | '/');
            let fits = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain);
            fits.then(|| name.to_owned()).ok_or_else(bad)
        };
        if let Some(role) = text.strip_prefix("role=") {
            return role.parse().map(Self::Role);
        }
        if let Some(foreign) = text.strip_prefix("foreign:") {
            return name(foreign).map(Self::Foreign);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(id) if id > 0 => Ok(Self::Link(LinkId(id))),
                _ => Err(BadAnchor::Link(text.to_owned())),
            };
        }
        name(text).map(Self::Program)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(id) => write!(f, "{id}"),
            Self::Program(name) => f.write_str(name),
            Self::Role(role) => write!(f, "role={role}"),
            Self::Foreign(name) => write!(f, "foreign:{name}"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = BadAnchor;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
as_text!(Role);
as_text!(Anchor);

/// Requested position of a member besides its priority. Intents take precedence over priorities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderIntent {
    /// Role by which others can name the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Anchors that the member runs before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Anchor>,
    /// Anchors that the member runs after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Anchor>,
}

impl OrderIntent {
    /// Returns whether there is no request, so that the priority alone decides.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.role.is_none() && self.before.is_empty() && self.after.is_empty()
    }

    /// Returns all anchors with their sides: `--before` or `--after`.
    pub fn anchors(&self) -> impl Iterator<Item = (Side, &Anchor)> {
        let before = self.before.iter().map(|anchor| (Side::Before, anchor));
        before.chain(self.after.iter().map(|anchor| (Side::After, anchor)))
    }

    /// Returns whether any anchor names third-party programs.
    #[must_use]
    pub fn names_foreign(&self) -> bool {
        self.anchors().any(|(_, anchor)| matches!(anchor, Anchor::Foreign(_)))
    }
}

/// Side of an anchor on which a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The member runs first.
    Before,
    /// The anchor runs first.
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "--before",
            Self::After => "--after",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_read_and_written_alike() {
        let role = |text: &str| Anchor::Role(text.parse().unwrap());
        for (text, anchor) in [
            ("7", Anchor::Link(LinkId(7))),
            ("filter", Anchor::Program("filter".to_owned())),
            ("7th", Anchor::Program("7th".to_owned())),
            ("role=fire-wall.2", role("fire-wall.2")),
            ("foreign:cil_from_netdev", Anchor::Foreign("cil_from_netdev".to_owned())),
            ("foreign:123", Anchor::Foreign("123".to_owned())),
        ] {
            assert_eq!(text.parse::<Anchor>().unwrap(), anchor, "{text}");
            assert_eq!(anchor.to_string(), text);
        }
    }

    #[test]
    fn invalid_anchor_is_refused_with_valid_forms() {
        for text in ["", "0", "4294967296", "a b", "role=", "role=a b", "foreign:", "rule=x", "name:x", "a/b"]
        {
            let error = text.parse::<Anchor>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{}\"", text.trim_start_matches("role="))), "{error}");
            let says = ["role=NAME", "a role has", "link id"].iter().any(|expected| error.contains(expected));
            assert!(says, "{error}");
        }
        assert!("x".repeat(128).parse::<Anchor>().is_err());
    }
}

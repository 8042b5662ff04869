//! Owners of programs and links.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{NamespaceName, OwningApplication};

/// User or application that may change a program or a link, which counts against the owner's limits. The
/// daemon derives the owner from the caller and the grant used; clients cannot set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// Root of this machine.
    #[default]
    Root,
    /// A user without a grant of its own, by number.
    User(u32),
    /// Any holder of a grant of `policy.toml`, by the grant's name.
    Grant(String),
    /// An application of Kubernetes.
    Application(OwningApplication),
}

/// Precedence at a hook, above priorities and intents. Tenants' programs cannot move or bypass the machine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// Root, users, grants without a scope, and cluster applications.
    #[default]
    Machine,
    /// Applications of a namespace, and grants with a scope.
    Tenant,
}

/// A text that is no owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no owner: expected root, user:NUMBER, grant:NAME or application:[NAMESPACE/]NAME")]
pub struct BadOwner(pub String);

impl Owner {
    /// Returns the owner of objects that a user creates without a grant.
    #[must_use]
    pub const fn of_user(uid: u32) -> Self {
        match uid {
            0 => Self::Root,
            uid => Self::User(uid),
        }
    }

    /// Returns the rank that follows from the owner alone. Programs of grants with a scope are tenants', too.
    #[must_use]
    pub fn rank(&self) -> Rank {
        if self.namespace().is_some() { Rank::Tenant } else { Rank::Machine }
    }

    /// Returns whether this is root or a cluster application: both override freezes of other owners.
    #[must_use]
    pub fn is_root_or_cluster(&self) -> bool {
        match self {
            Self::Root => true,
            Self::Application(application) => application.namespace.is_none(),
            Self::User(_) | Self::Grant(_) => false,
        }
    }

    /// Returns the namespace of an application; `None` for other owners and for cluster applications.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Application(application) => application.namespace.as_ref().map(NamespaceName::as_str),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::User(uid) => write!(f, "user:{uid}"),
            Self::Grant(name) => write!(f, "grant:{name}"),
            Self::Application(name) => write!(f, "application:{name}"),
        }
    }
}

impl FromStr for Owner {
    type Err = BadOwner;

    fn from_str(text: &str) -> Result<Self, BadOwner> {
        let bad = || BadOwner(text.to_owned());
        if text == "root" {
            return Ok(Self::Root);
        }
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "user" => name.parse().map(Self::User).map_err(|_| bad()),
            "grant" => Ok(Self::Grant(name.to_owned())),
            "application" => Ok(Self::Application(match name.split_once('/') {
                Some((namespace, name)) => OwningApplication::recorded(Some(namespace), name),
                None => OwningApplication::recorded(None, name),
            })),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Owner {
    type Error = BadOwner;

    fn try_from(text: String) -> Result<Self, BadOwner> {
        text.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> Self {
        owner.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_is_written() {
        let application = |namespace: Option<&str>| {
            Owner::Application(OwningApplication::parse(namespace, "filter").unwrap())
        };
        for (owner, text) in [
            (Owner::Root, "root"),
            (Owner::User(1000), "user:1000"),
            (Owner::Grant("net work".to_owned()), "grant:net work"),
            (application(None), "application:filter"),
            (application(Some("shop")), "application:shop/filter"),
        ] {
            assert_eq!(owner.to_string(), text);
            assert_eq!(text.parse(), Ok(owner));
        }
        for text in ["", "Root", "user:", "user:-1", "group:x"] {
            assert_eq!(text.parse::<Owner>(), Err(BadOwner(text.to_owned())));
        }
    }
}

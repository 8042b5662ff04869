//! Levels of optimisation of a chain.

use serde::{Deserialize, Serialize};

/// Changes that a chain makes to the instructions of its members. Each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimisation {
    /// Members run as they were loaded.
    None,
    /// The read-only data of members is folded into their instructions.
    #[default]
    Fold,
    /// Headers are parsed once for all members of a program. Chains of members that parse little gain nothing, and take
    /// longer to load.
    Share,
}

impl Optimisation {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Fold, Self::Share];

    /// Returns the name for users and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fold => "fold",
            Self::Share => "share",
        }
    }

    /// Returns the level of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Returns whether this is the level of hooks for which the user chose none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order_agree() {
        for level in Optimisation::ALL {
            assert_eq!(Optimisation::of_name(level.name()), Some(level));
        }
        assert_eq!(Optimisation::of_name("Share"), None);
        assert!(Optimisation::ALL.is_sorted());
    }
}

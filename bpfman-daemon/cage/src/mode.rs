//! How much of the cage root wants.

use std::fmt;
use std::str::FromStr;

use crate::CageError;

/// Whether a part of the cage holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CageMode {
    /// It holds.
    #[default]
    On,
    /// What it would stop is told by the kernel's audit log, and done.
    Log,
    /// It is not built.
    Off,
}

impl fmt::Display for CageMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Log => "log",
            Self::Off => "off",
        })
    }
}

impl FromStr for CageMode {
    type Err = CageError;

    fn from_str(word: &str) -> Result<Self, CageError> {
        match word {
            "on" => Ok(Self::On),
            "log" => Ok(Self::Log),
            "off" => Ok(Self::Off),
            other => Err(CageError::Mode { word: other.to_owned() }),
        }
    }
}

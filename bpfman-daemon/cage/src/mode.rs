use std::fmt;
use std::str::FromStr;

use crate::CageError;

/// Mode of a part of the sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CageMode {
    #[default]
    On,
    /// Violations are written to the kernel's audit log, and executed.
    Log,
    /// Not installed.
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

//! Error number of a system call, as its caller sees it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Error number of Linux, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errno(pub i32);

impl Errno {
    pub const PERM: Self = Self(1);
    pub const BADF: Self = Self(9);
    pub const AGAIN: Self = Self(11);
    pub const NOENT: Self = Self(2);
    pub const NOMEM: Self = Self(12);
    pub const NODEV: Self = Self(19);
    pub const INVAL: Self = Self(22);
    pub const TOO_BIG: Self = Self(7);
    pub const NOSYS: Self = Self(38);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        error.raw_os_error().map_or(Self::INVAL, Self)
    }
}

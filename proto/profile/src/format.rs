use std::str::FromStr;

use thiserror::Error;

use crate::Profile;

/// Output format of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Folded stacks: `process;outer;inner SAMPLES` a line.
    #[default]
    Folded,
    /// Message of pprof, compressed by gzip.
    Pprof,
    /// Flame graph.
    Svg,
}

/// Error of an unknown format.
#[derive(Debug, Error)]
#[error("no format \"{0}\": expected folded, pprof or svg")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "folded" => Ok(Self::Folded),
            "pprof" => Ok(Self::Pprof),
            "svg" => Ok(Self::Svg),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

impl Format {
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Folded => "text/plain; charset=utf-8",
            Self::Pprof => "application/octet-stream",
            Self::Svg => "image/svg+xml",
        }
    }

    /// Encodes a profile.
    #[must_use]
    pub fn write(self, profile: &Profile) -> Vec<u8> {
        match self {
            Self::Folded => profile.to_folded().into_bytes(),
            Self::Pprof => profile.to_pprof(),
            Self::Svg => profile.to_flame_graph().into_bytes(),
        }
    }
}

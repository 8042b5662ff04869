//! Limit whose excess begins a pause.

use std::fmt;

/// Limit that an owner exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PausedFor {
    /// `limits.probe_share`: the owner attaches no probes.
    Breakpoints,
    /// `limits.cpu` of a grant: the owner attaches nothing.
    CpuTime,
}

impl PausedFor {
    pub(super) const fn limit(self) -> &'static str {
        match self {
            Self::Breakpoints => "limits.probe_share",
            Self::CpuTime => "the limit of their grant",
        }
    }
}

/// Names the things that the owner may not attach meanwhile.
impl fmt::Display for PausedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Breakpoints => "its probes",
            Self::CpuTime => "its programs",
        })
    }
}

//! Limit whose excess begins a pause.

/// Limit that an owner exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PausedFor {
    /// `limits.probe_share`: the owner attaches no probes.
    Breakpoints,
    /// `limits.cpu` of a grant: the owner attaches nothing.
    CpuTime,
    /// The verifier's time for programs that were not kept: the owner loads and attaches nothing.
    Refusals,
}

impl PausedFor {
    pub(super) const fn excess(self) -> &'static str {
        match self {
            Self::Breakpoints => "its probes took more than limits.probe_share, and can be attached",
            Self::CpuTime => "its programs took more than the limit of the grant, and can be attached",
            Self::Refusals => {
                "the verifier worked too long on programs that were refused or only tried: the next one is tried"
            }
        }
    }

    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::Breakpoints | Self::CpuTime => {
                "root may attach the program at once, which ends the pause; a probe costs less in a function that is called less"
            }
            Self::Refusals => {
                "wait, or have root do it; `bpfman check` finds many causes without the verifier"
            }
        }
    }
}

//! Reasons why a third-party link is not adopted.

use bpfman_model::{KernelLinkId, ProgramId, Reason};

/// Refusal to adopt a link in its present state.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdoptRefusal {
    #[error("link {0} runs program {1}, which bpfman loaded itself")]
    OwnProgram(KernelLinkId, ProgramId),
    #[error("link {0} is the one by which bpfman is at {1} already")]
    OwnLink(KernelLinkId, String),
    #[error("link {0} was changed by someone while it was being adopted")]
    Changed(KernelLinkId),
    /// The link's interface is gone, or the link was force-detached.
    #[error("link {0} is attached to no interface any more")]
    NoInterface(KernelLinkId),
    #[error("link {0} is not at {1}")]
    NotThere(KernelLinkId, String),
    #[error(
        "link {0} may be at {1} or at {2}: its program runs at interfaces of the same number in several network \
         namespaces, and the kernel does not tell which link is where"
    )]
    Ambiguous(KernelLinkId, String, String),
}

impl AdoptRefusal {
    pub(crate) const fn error_kind(&self) -> Reason {
        match self {
            Self::OwnLink(..) | Self::Changed(_) => Reason::Conflict,
            Self::NotThere(..) => Reason::NotFound,
            Self::OwnProgram(..) | Self::NoInterface(_) | Self::Ambiguous(..) => Reason::Precondition,
        }
    }
}

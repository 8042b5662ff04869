//! Why a link of others is not adopted as things are.

use bpfmand_core::{KernelLinkId, ProgramId};

use super::ErrorKind;

/// A link that cannot be adopted as it is now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdoptRefusal {
    /// Its program needs no adoption.
    #[error("link {0} runs program {1}, which bpfman loaded itself")]
    OwnProgram(KernelLinkId, ProgramId),
    /// It is ours, at this hook.
    #[error("link {0} is the one by which bpfman is at {1} already")]
    OwnLink(KernelLinkId, String),
    /// Its owner changed it.
    #[error("link {0} was changed by someone while it was being adopted")]
    Changed(KernelLinkId),
    /// Its interface is gone, or it was forced off.
    #[error("link {0} is attached to no interface any more")]
    NoInterface(KernelLinkId),
    /// It is not where it was looked for.
    #[error("link {0} is not at {1}")]
    NotThere(KernelLinkId, String),
    /// It is at one of two places, or more.
    #[error(
        "link {0} may be at {1} or at {2}: its program runs at interfaces of the same number in several network \
         namespaces, and the kernel does not tell which link is where"
    )]
    Ambiguous(KernelLinkId, String, String),
}

impl AdoptRefusal {
    pub(crate) const fn error_kind(&self) -> ErrorKind {
        match self {
            Self::OwnLink(..) | Self::Changed(_) => ErrorKind::Conflict,
            Self::NotThere(..) => ErrorKind::NotFound,
            Self::OwnProgram(..) | Self::NoInterface(_) | Self::Ambiguous(..) => ErrorKind::Precondition,
        }
    }
}

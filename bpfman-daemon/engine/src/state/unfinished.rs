//! What a failed operation could not undo.

use std::path::PathBuf;
use std::sync::Arc;

use bpfmand_core::{HookKey, Interface, LinkId, OperationId, ProgramId};

use super::LeaseId;
use super::records::LeftoverFilter;

/// A step of a failed operation that is still to be undone.
#[derive(Clone, Debug)]
pub enum Unfinished {
    /// A folder below `pending`, with links that run what is in it.
    Folder(PathBuf),
    /// A filter that no record names.
    Filter(LeftoverFilter),
    /// A hook that runs another program than recorded.
    Swap {
        /// Which hook.
        key: HookKey,
        /// What it ran when it could not be swapped back.
        now: ProgramId,
        /// Keeps what that consists of, until the hook is swapped back.
        lease: Option<LeaseId>,
        /// The chain of that lease.
        chain: Option<Arc<crate::state::chain_record::ChainRecord>>,
    },
    /// A tcx link that runs another version of its program than recorded.
    Link {
        /// Which link.
        id: LinkId,
        /// What it ran when it could not be updated back.
        now: ProgramId,
    },
    /// A dispatcher of libxdp that was made for a hook, which may run it.
    Dispatcher {
        /// Of which the pins below `pending` are.
        operation: OperationId,
        /// The hook.
        key: HookKey,
        /// Its interface.
        interface: Interface,
        /// The dispatcher, if it was loaded.
        after: Option<ProgramId>,
    },
    /// A link of someone else that was to be adopted.
    Adoption {
        /// The operation.
        operation: OperationId,
        /// Keeps the chain that the link may run.
        lease: Option<LeaseId>,
        /// The chain of that lease.
        chain: Option<Arc<crate::state::chain_record::ChainRecord>>,
    },
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "pins below {}", path.display()),
            Self::Filter(filter) => write!(
                f,
                "the filter of priority {} and handle {:#x} at {}",
                filter.priority, filter.handle, filter.interface.name
            ),
            Self::Swap { key, now, .. } => {
                write!(f, "{} at interface {}, which runs program {now}", key.kind.name(), key.ifindex)
            }
            Self::Link { id, now } => write!(f, "link {id}, which runs program {now}"),
            Self::Dispatcher { interface, .. } => write!(f, "a new dispatcher at {}", interface.name),
            Self::Adoption { operation, .. } => write!(f, "the adoption of operation {operation}"),
        }
    }
}

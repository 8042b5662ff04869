//! Steps of a failed operation that were not undone: the remainder, its place, and the cause.

use std::path::PathBuf;

use bpfman_model::{HookKey, Interface, LinkId, OperationId, ProgramId};
use bpfmand_kernel::TcFilter;

use super::EngineError;

/// Step that could not be undone.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", if matches!(**left, Remainder::Attachment(_)) { format!("{left}: ") } else { String::new() })]
pub struct UndoFailure {
    pub left: Box<Remainder>,
    /// Cause of the failure.
    pub error: EngineError,
}

/// Remainder of a failed operation, with its place. Paths are relative to the daemon's bpffs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remainder {
    /// Folder below `pending`, with links that run the programs in it.
    #[error("pins below {}", .0.display())]
    Folder(PathBuf),
    #[error("the link at {}", .0.display())]
    Pin(PathBuf),
    #[error("the filter of priority {} and handle {:#x} at {}", filter.priority, filter.handle, interface.name)]
    Filter {
        interface: Interface,
        key: HookKey,
        /// Priority and handle of the filter.
        filter: TcFilter,
        program: ProgramId,
    },
    #[error("{} at interface {}, which runs program {now}", key.kind.name(), key.ifindex)]
    Hook {
        key: HookKey,
        /// Program that ran when the hook could not be swapped back.
        now: ProgramId,
    },
    /// Tcx or struct_ops link that runs another version of its program than recorded.
    #[error("link {id}, which runs program {now}")]
    Link {
        id: LinkId,
        /// Program that ran when the link could not be updated back.
        now: ProgramId,
    },
    /// New libxdp dispatcher for a hook, which may run it.
    #[error("a new dispatcher at {}", interface.name)]
    Dispatcher {
        /// Operation with the pins below `pending`.
        operation: OperationId,
        key: HookKey,
        interface: Interface,
        /// The dispatcher, if it was loaded.
        after: Option<ProgramId>,
    },
    #[error("the adoption of operation {0}")]
    Adoption(OperationId),
    #[error("link {0} stays attached")]
    Attachment(LinkId),
}

impl UndoFailure {
    /// Creates a failure from the remainder and the error that caused it.
    pub fn new(left: Remainder, error: impl Into<EngineError>) -> Self {
        Self { left: Box::new(left), error: error.into() }
    }
}

pub fn joined(failures: &[UndoFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

//! Steps of a failed operation that were not undone: what is left, where, and why.

use std::path::PathBuf;

use bpfmand_core::{HookKey, Interface, LinkId, OperationId, ProgramId};
use bpfmand_kernel::TcFilter;

use super::EngineError;

/// A step that could not be undone.
#[derive(Debug, thiserror::Error)]
// An error names its place, but for that of an attachment.
#[error("{}{error}", if matches!(**left, Remainder::Attachment(_)) { format!("{left}: ") } else { String::new() })]
pub struct UndoFailure {
    /// What is left.
    pub left: Box<Remainder>,
    /// Why.
    pub error: EngineError,
}

/// What a failed operation left, and where. Paths are relative to the daemon's bpffs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remainder {
    /// A folder below `pending`, with links that run what is in it.
    #[error("pins below {}", .0.display())]
    Folder(PathBuf),
    /// A pinned link that no record names.
    #[error("the link at {}", .0.display())]
    Pin(PathBuf),
    /// A filter that no record names.
    #[error("the filter of priority {} and handle {:#x} at {}", filter.priority, filter.handle, interface.name)]
    Filter {
        /// Its interface.
        interface: Interface,
        /// Its hook.
        key: HookKey,
        /// Which of that hook.
        filter: TcFilter,
        /// What it runs.
        program: ProgramId,
    },
    /// A hook that runs another program than recorded.
    #[error("{} at interface {}, which runs program {now}", key.kind.name(), key.ifindex)]
    Hook {
        /// Which hook.
        key: HookKey,
        /// What it ran when it could not be swapped back.
        now: ProgramId,
    },
    /// A tcx link that runs another version of its program than recorded.
    #[error("link {id}, which runs program {now}")]
    Link {
        /// Which link.
        id: LinkId,
        /// What it ran when it could not be updated back.
        now: ProgramId,
    },
    /// A dispatcher of libxdp that was made for a hook, which may run it.
    #[error("a new dispatcher at {}", interface.name)]
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
    /// A link of someone else that was to be adopted by this operation.
    #[error("the adoption of operation {0}")]
    Adoption(OperationId),
    /// An attachment that has its record, and was to be taken back.
    #[error("link {0} stays attached")]
    Attachment(LinkId),
}

impl UndoFailure {
    /// What is left because of an error.
    pub fn new(left: Remainder, error: impl Into<EngineError>) -> Self {
        Self { left: Box::new(left), error: error.into() }
    }
}

/// All of them, as one sentence has them.
pub fn joined(failures: &[UndoFailure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

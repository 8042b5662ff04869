//! Steps of a failed operation that were not undone: what is left, where, and why.

use std::fmt;
use std::path::PathBuf;

use bpfmand_core::{HookKey, Interface, LinkId, OperationId, ProgramId};
use bpfmand_kernel::TcFilter;

use super::EngineError;

/// A step that could not be undone.
#[derive(Debug)]
pub struct UndoFailure {
    /// What is left.
    pub left: Box<Remainder>,
    /// Why.
    pub error: EngineError,
}

/// What a failed operation left, and where. Paths are relative to the daemon's bpffs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remainder {
    /// A folder below `pending`, with links that run what is in it.
    Folder(PathBuf),
    /// A pinned link that no record names.
    Pin(PathBuf),
    /// A filter that no record names.
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
    Hook {
        /// Which hook.
        key: HookKey,
        /// What it ran when it could not be swapped back.
        now: ProgramId,
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
    /// A link of someone else that was to be adopted by this operation.
    Adoption(OperationId),
    /// An attachment that has its record, and was to be taken back.
    Attachment(LinkId),
}

impl UndoFailure {
    /// What is left because of an error.
    pub fn new(left: Remainder, error: impl Into<EngineError>) -> Self {
        Self { left: Box::new(left), error: error.into() }
    }
}

impl fmt::Display for UndoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.left {
            Remainder::Attachment(_) => write!(f, "{}: {}", self.left, self.error),
            // The error names the place.
            _ => write!(f, "{}", self.error),
        }
    }
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "pins below {}", path.display()),
            Self::Pin(path) => write!(f, "the link at {}", path.display()),
            Self::Filter { interface, filter: TcFilter { priority, handle }, .. } => {
                write!(f, "the filter of priority {priority} and handle {handle:#x} at {}", interface.name)
            }
            Self::Hook { key, now } => {
                write!(f, "{} at interface {}, which runs program {now}", key.kind.name(), key.ifindex)
            }
            Self::Link { id, now } => write!(f, "link {id}, which runs program {now}"),
            Self::Dispatcher { interface, .. } => write!(f, "a new dispatcher at {}", interface.name),
            Self::Adoption(operation) => write!(f, "the adoption of operation {operation}"),
            Self::Attachment(link) => write!(f, "link {link} stays attached"),
        }
    }
}

//! Results of reading hooks from the kernel.

use std::collections::HashSet;

use bpfmand_core::{HookEntry, HookKey, Interface, NetnsId, ProgramId};
use bpfmand_kernel::TcFilter;

/// Presence of a hook's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPresence {
    /// The interface exists and runs these programs.
    There(Vec<HookEntry>),
    /// The interface is no longer in its namespace, or the namespace has ended.
    Gone,
    /// No path leads to the namespace, which is not known to have ended.
    Unreachable,
}

/// All clsact filters that run a program, as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundFilters {
    /// Filters in namespaces that can be found.
    pub seen: Vec<FoundFilter>,
    pub read: HashSet<NetnsId>,
    /// A namespace that may hold more of the daemon's filters and cannot be read.
    pub hidden: Option<NetnsId>,
}

/// Clsact filter that runs a program, whether or not the daemon added it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFilter {
    /// Interface, with the path by which its namespace was reached.
    pub interface: Interface,
    /// Hook, by the identity of the namespace.
    pub key: HookKey,
    pub filter: TcFilter,
    pub program: ProgramId,
}

//! Results of a look at hooks.

use std::collections::HashSet;

use bpfmand_core::{HookEntry, HookKey, Interface, NetnsId, ProgramId};
use bpfmand_kernel::TcFilter;

/// Presence of a hook's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPresence {
    /// Its interface is there, with these programs.
    There(Vec<HookEntry>),
    /// Its interface is not in its namespace any more, or the namespace has ended.
    Gone,
    /// No path leads to its namespace, which is not known to have ended.
    Unreachable,
}

/// All filters of clsact that run a program, as far as they can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundFilters {
    /// Those in namespaces that can be found.
    pub seen: Vec<FoundFilter>,
    /// Namespaces in which all filters were read.
    pub read: HashSet<NetnsId>,
    /// A namespace in which there may be others of ours.
    pub hidden: Option<NetnsId>,
}

/// A filter of clsact that runs a program, whoever put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFilter {
    /// Its interface, by the path that led there.
    pub interface: Interface,
    /// Its hook, by the identity of the namespace.
    pub key: HookKey,
    /// Its priority and handle.
    pub filter: TcFilter,
    /// Program that it runs.
    pub program: ProgramId,
}

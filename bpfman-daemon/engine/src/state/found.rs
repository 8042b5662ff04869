//! Results of reading hooks from the kernel.

use std::collections::HashSet;

use bpfman_model::{HookEntry, HookKey, Interface, NetnsId, ProgramId};
use bpfmand_kernel::TcFilter;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPresence {
    There(Vec<HookEntry>),
    /// The interface is no longer in its namespace, or the namespace has ended.
    Gone,
    /// No path leads to the namespace, which is not known to have ended.
    Unreachable,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundFilters {
    pub seen: Vec<FoundFilter>,
    pub read: HashSet<NetnsId>,
    pub hidden: Option<NetnsId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFilter {
    pub interface: Interface,
    pub key: HookKey,
    pub filter: TcFilter,
    pub program: ProgramId,
}

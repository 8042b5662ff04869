//! What a look at hooks found.

use bpfmand_core::{HookEntry, HookKey, Interface, ProgramId};
use bpfmand_kernel::TcFilter;

/// What is at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookPresence {
    /// Its interface is there, with these programs.
    There(Vec<HookEntry>),
    /// Its interface is not in its namespace any more, or the namespace has ended.
    Gone,
    /// No path leads to its namespace, which is not known to have ended.
    Unreachable,
}

/// A filter of clsact that runs a program, whoever put it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFilter {
    /// Where.
    pub interface: Interface,
    /// Where.
    pub key: HookKey,
    /// Which.
    pub filter: TcFilter,
    /// What it runs.
    pub program: ProgramId,
}

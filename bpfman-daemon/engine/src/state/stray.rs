//! Objects in the daemon's bpffs that no record names.

use std::path::PathBuf;

use bpfman_model::{HookKey, IfIndex, Interface, KernelLinkId, NetnsId, ProgramId};

use super::hook_names::place;

/// Loaded or attached object below the daemon's bpffs without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Pin, relative to the daemon's bpffs. It identifies the stray.
    pub pin: PathBuf,
    pub kind: StrayKind,
    /// Program that the object runs or is.
    pub program: ProgramId,
    pub program_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayKind {
    /// A kernel link without a record.
    Link {
        id: KernelLinkId,
        /// Index of the interface, for XDP and tcx links.
        ifindex: Option<IfIndex>,
    },
    /// A loaded program without a record.
    Program,
    /// A clsact filter that runs a chain without a record; the pin is the chain's entry.
    Filter {
        /// The interface, and its namespace's file.
        interface: Interface,
        key: HookKey,
        /// `pref` of the filter.
        priority: u16,
        /// `handle` of the filter.
        handle: u32,
    },
    /// A chain without a record, which a filter in an unreachable network namespace may run; the pin is its entry.
    HiddenFilter { netns: NetnsId },
    /// A recorded hook that runs a chain newer than its record.
    NewerChain {
        /// Hook, as `bpfman chain show` names it.
        hook: String,
        key: HookKey,
    },
}

impl Stray {
    pub(crate) fn is_link(&self, link: KernelLinkId) -> bool {
        matches!(self.kind, StrayKind::Link { id, .. } if id == link)
    }

    /// Returns a description for users: kind, position, and possible actions.
    #[must_use]
    pub fn description(&self) -> String {
        let program = format!("program {} \"{}\"", self.program, self.program_name);
        match &self.kind {
            StrayKind::Link { id, ifindex: Some(ifindex) } => format!(
                "link {id} runs {program} at interface {ifindex}, and no record names it: `bpfman adopt` manages it \
                 from now on, `bpfman stray remove` ends it"
            ),
            StrayKind::Link { id, ifindex: None } => {
                format!("link {id} runs {program}, and no record names it: `bpfman stray remove` ends it")
            }
            StrayKind::Program => format!(
                "{program} is loaded, and no record names it: `bpfman stray remove` lets go of it and its maps"
            ),
            StrayKind::Filter { interface, priority, handle, .. } => format!(
                "the filter with pref {priority} and handle {handle:#x} of {} runs {program}, and no record names it: \
                 `bpfman stray remove` removes it",
                place(interface)
            ),
            StrayKind::HiddenFilter { netns } => format!(
                "no record names {program}, which a filter may run in network namespace {}; nothing leads there: it is \
                 kept, and a start removes it once that namespace has ended",
                netns.inode
            ),
            StrayKind::NewerChain { hook, .. } => format!(
                "{hook} runs {program}, which was made later than the records of this state folder: `bpfman stray \
                 remove` puts the recorded chain in its place"
            ),
        }
    }
}

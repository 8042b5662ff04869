//! What the bpffs holds and no record names.

use std::path::PathBuf;

use bpfmand_core::{HookKey, IfIndex, Interface, KernelLinkId, NetnsId, ProgramId};

use super::hook_names::place;

/// Something that is loaded or attached below the daemon's bpffs without a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its pin, relative to the daemon's bpffs. This is its name.
    pub pin: PathBuf,
    /// What it is.
    pub kind: StrayKind,
    /// The program that it runs or is.
    pub program: ProgramId,
    /// The kernel's name of that program.
    pub program_name: String,
}

/// What a stray is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayKind {
    /// A kernel link without a record.
    Link {
        /// The kernel's id.
        id: KernelLinkId,
        /// Where, for links at XDP and tcx.
        ifindex: Option<IfIndex>,
    },
    /// A loaded program without a record.
    Program,
    /// A clsact filter that runs a chain which no record names; the pin is the chain's entry.
    Filter {
        /// The interface, and its namespace's file.
        interface: Interface,
        /// The hook.
        key: HookKey,
        /// `pref` of the filter.
        priority: u16,
        /// `handle` of the filter.
        handle: u32,
    },
    /// A chain that no record names, and that a filter may run in a network namespace which nothing leads to; the pin is the
    /// chain's entry.
    HiddenFilter {
        /// Which namespace.
        netns: NetnsId,
    },
    /// A hook that has a record, and runs a chain that was made later than the record.
    NewerChain {
        /// The hook, as `bpfman chain show` names it.
        hook: String,
        /// The hook.
        key: HookKey,
    },
}

impl Stray {
    /// True for a link with this id.
    pub(crate) fn is_link(&self, link: KernelLinkId) -> bool {
        matches!(self.kind, StrayKind::Link { id, .. } if id == link)
    }

    /// What it is, where, and what can be done, for people.
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

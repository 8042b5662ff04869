//! Details of chains.

use std::sync::Arc;

use bpfman_model::{KernelLinkId, Optimisation, ProgramFacts};
use bpfmand_splice::JoinMode;

use crate::chain::{HookSwitches, LinkCounters, MemberTime};
use crate::state::chain_record::{ChainRecord, Savings, SegmentRecord};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::state::{Standing, XdpPlacement};

/// Chain of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDetails {
    /// Hook, as commands name it.
    pub hook: String,
    /// "kernel" if the kernel runs the links one after another (tcx), else the way in which the members were joined.
    pub strategy: &'static str,
    pub reason: String,
    /// Facts of the entry program; `None` for tcx.
    pub entry: Option<ProgramFacts>,
    pub kernel_link: Option<KernelLinkId>,
    /// Kernel mechanism of the entry: "xdp", "tcx" or "clsact".
    pub mode: &'static str,
    /// XDP mode, for XDP hooks.
    pub xdp: Option<XdpPlacement>,
    /// Members in execution order.
    pub members: Vec<ChainMember>,
    /// Programs of the chain, entry first; empty if a member is attached directly.
    pub segments: Vec<SegmentRecord>,
    pub switches: HookSwitches,
    /// Number of packets for which every member proceeded; 0 if counters are off.
    pub all_proceeded: u64,
    /// Number of packets lost by a failed tail call, which received the hook's fail verdict.
    pub failed: u64,
    /// Number of plans that the verifier refused before the current one.
    pub fallbacks: u32,
    /// Level at which the chain was built, at most that of the switch.
    pub optimisation: Optimisation,
    pub savings: Savings,
    /// Number of hooks that run the same loaded programs, including this one; 0 if a member is attached directly.
    pub hooks_sharing: u32,
    /// Status of the chain in the kernel; `None` for tcx.
    pub standing: Option<Standing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainMember {
    pub link: Arc<LinkRecord>,
    /// Program of the member, as it was loaded alone.
    pub program: Arc<ProgramRecord>,
    /// Reason for the position: effective intents, then the priority, then waiting intents.
    pub reason: String,
    /// Way in which the chain includes the member.
    pub way: JoinMode,
    /// Reason why the member is not inlined; empty if it is.
    pub way_reason: String,
    /// Index of its program in [`ChainDetails::segments`].
    pub segment: u32,
    /// Counters; `None` if counters are off.
    pub counters: Option<LinkCounters>,
    /// Sampled time; `None` if timing is off.
    pub time: Option<MemberTime>,
}

impl ChainRecord {
    pub(crate) fn segment_of(&self, member: usize) -> u32 {
        let later = self.segments.iter().take_while(|segment| segment.first as usize <= member).count();
        later.saturating_sub(1) as u32
    }
}

//! What the engine answers about a chain.

use std::sync::Arc;

use bpfmand_core::{KernelLinkId, ProgramFacts};
use bpfmand_splice::Way;

use crate::chain::{HookSwitches, LinkCounters, MemberTime};
use crate::state::chain_record::{ChainRecord, SegmentRecord};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::state::{Standing, XdpPlacement};

/// The chain of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainDetails {
    /// The hook as commands name it.
    pub hook: String,
    /// "kernel" where the kernel runs the links one after another (tcx), else how the members became one program.
    pub strategy: &'static str,
    /// Why.
    pub reason: String,
    /// The entry program; none for tcx.
    pub entry: Option<ProgramFacts>,
    /// The kernel's link of the entry.
    pub kernel_link: Option<KernelLinkId>,
    /// "xdp", "tcx" or "clsact": by which mechanism of the kernel the chain is entered.
    pub mode: &'static str,
    /// At XDP: where it runs.
    pub xdp: Option<XdpPlacement>,
    /// In the order they run.
    pub members: Vec<ChainMember>,
    /// The programs that the chain consists of, the entry first; none where a member is attached itself.
    pub segments: Vec<SegmentRecord>,
    /// The hook's switches.
    pub switches: HookSwitches,
    /// Packets for which every member proceeded; 0 where counters are off.
    pub all_proceeded: u64,
    /// Packets that a tail call lost, which ended with the hook's fail verdict.
    pub failed: u64,
    /// Plans that the verifier refused before the one that runs.
    pub fallbacks: u32,
    /// Hooks that run these very programs, this one included; 0 where a member is attached itself.
    pub hooks_sharing: u32,
    /// How the hook's chain stands in the kernel; none for tcx.
    pub standing: Option<Standing>,
}

/// A member of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainMember {
    /// Our link.
    pub link: Arc<LinkRecord>,
    /// The member loaded alone.
    pub program: Arc<ProgramRecord>,
    /// Why it stands where it stands: the intents that hold, then its priority, then the intents that wait.
    pub reason: String,
    /// How the chain carries it.
    pub way: Way,
    /// Why not inlined; empty if it is.
    pub way_reason: String,
    /// The program that it runs in: an index into [`ChainDetails::segments`].
    pub segment: u32,
    /// None where counters are off.
    pub counters: Option<LinkCounters>,
    /// None where time is not sampled.
    pub time: Option<MemberTime>,
}

impl ChainRecord {
    /// The program that a member runs in.
    pub(crate) fn segment_of(&self, member: usize) -> u32 {
        let later = self.segments.iter().take_while(|segment| segment.first as usize <= member).count();
        later.saturating_sub(1) as u32
    }
}

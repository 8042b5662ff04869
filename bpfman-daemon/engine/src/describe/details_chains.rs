//! What the engine tells of a chain beyond its members.

use bpfmand_core::{LinkId, ProgramId};

use crate::state::Standing;
use crate::state::chain_record::{ChainRecord, SegmentRecord};
use crate::{ChainDetails, HookSwitches, LinkCounters, MemberTime};

/// A chain, with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainView {
    /// Members, strategy and entry.
    pub chain: ChainDetails,
    /// One entry a member, in the same order.
    pub members: Vec<MemberView>,
    /// The programs that the chain consists of, the entry first; none where a member is attached itself.
    pub segments: Vec<SegmentView>,
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

/// How a member takes part, and what was counted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Whose.
    pub link: LinkId,
    /// "inline", "function" or "own".
    pub way: &'static str,
    /// Why not inlined; empty if it is.
    pub way_reason: String,
    /// The program that it runs in: an index into [`ChainView::segments`].
    pub segment: u32,
    /// `sha256:…` of the image that it came from.
    pub image_digest: Option<String>,
    /// None where counters are off.
    pub counters: Option<LinkCounters>,
    /// None where time is not sampled.
    pub time: Option<MemberTime>,
}

/// One of the programs of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// The kernel's id.
    pub program: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
    /// Index of its first member.
    pub first_member: u32,
    /// How many members it runs.
    pub members: u32,
    /// Instructions that the verifier walked through.
    pub verified_insns: u32,
    /// Why a new program begins here; empty for the first.
    pub reason: String,
}

impl From<&SegmentRecord> for SegmentView {
    fn from(segment: &SegmentRecord) -> Self {
        Self {
            program: segment.program,
            tag: segment.tag,
            first_member: segment.first,
            members: segment.members,
            verified_insns: segment.verified_insns,
            reason: segment.reason.clone(),
        }
    }
}

impl ChainRecord {
    /// The program that a member runs in.
    pub(crate) fn segment_of(&self, member: usize) -> u32 {
        let later = self.segments.iter().take_while(|segment| segment.first as usize <= member).count();
        later.saturating_sub(1) as u32
    }
}

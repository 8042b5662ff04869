//! The chain of one hook: its shape for programs. How it is drawn is in [`super::chain_drawing`].

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::Answer;
use super::chain_drawing;
use super::record::filled;
use super::screen::Screen;

/// The answer to `chain show`.
#[derive(Clone, Debug, Serialize)]
pub struct ChainRecord {
    /// The hook as it was asked for.
    pub hook: String,
    /// `direct` (one program, attached itself), `splice` (compiled into one), `kernel` (tcx: one link each), other
    /// strategies of the daemon, or `none` where none of our programs is attached.
    pub strategy: String,
    /// Why this strategy.
    pub reason: String,
    /// How the hook is attached, in the daemon's word: for example `native`, `generic`, `tcx` or `clsact`.
    pub mode: String,
    /// Program that the hook runs; absent for tcx.
    pub program_id: Option<u32>,
    /// Its name.
    pub program_name: Option<String>,
    /// Its tag.
    pub program_tag: Option<String>,
    /// Kernel link that attaches it.
    pub kernel_link_id: Option<u32>,
    /// Instructions the verifier walked through for it.
    pub verified_instructions: u32,
    /// Whether verdicts are counted.
    pub counters: bool,
    /// Whether times are sampled.
    pub timing: bool,
    /// Whether changes are refused for now.
    pub held: bool,
    /// Who holds it.
    pub held_by: Option<String>,
    /// Whether each program is a function of its own.
    pub as_subprograms: bool,
    /// Whether an empty chain stays attached.
    pub keep_attached: bool,
    /// Packets for which every program proceeded; 0 where counters are off.
    pub all_proceeded: u64,
    /// Packets that a tail call lost.
    pub failed: u64,
    /// Packets that reach the chain; 0 unless measured.
    pub packets_per_second: f64,
    /// Times another strategy was taken because the verifier refused the first.
    pub fallbacks: u32,
    /// Programs that the chain consists of.
    pub segments: Vec<SegmentRecord>,
    /// All that is at the hook, ours and others', in the order that packets meet it.
    pub entries: Vec<EntryRecord>,
    /// Ours, in the order they run.
    pub members: Vec<MemberRecord>,
}

/// A program in a chain.
#[derive(Clone, Debug, Serialize)]
pub struct MemberRecord {
    /// Place, from 0.
    pub position: u32,
    /// Its link.
    pub link_id: u32,
    /// Kernel id of the program loaded alone.
    pub program_id: u32,
    /// Its function.
    pub program_name: String,
    /// Lower runs earlier.
    pub priority: i32,
    /// Verdicts after which the next one runs.
    pub proceed_on: Vec<String>,
    /// What it says it is.
    pub role: Option<String>,
    /// Why it is at this place.
    pub order_reason: Option<String>,
    /// `inline`, `function` or `own`.
    pub way: Option<String>,
    /// Why not inlined.
    pub way_reason: Option<String>,
    /// Place of its program among `segments`.
    pub segment: u32,
    /// Digest of the image it came from.
    pub image_digest: Option<String>,
    /// Packets that reached it; absent where counters are off.
    pub runs: Option<u64>,
    /// Packets whose way ended here, by verdict.
    pub ended: Vec<EndedRecord>,
    /// Runs a second; 0 unless measured.
    pub runs_per_second: f64,
    /// Mean time; absent where it is not sampled.
    pub nanoseconds_per_run: Option<f64>,
}

/// Packets that one verdict ended.
#[derive(Clone, Debug, Serialize)]
pub struct EndedRecord {
    /// The verdict.
    pub verdict: String,
    /// How many.
    pub packets: u64,
}

/// One of the programs that a chain consists of.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentRecord {
    /// Kernel id.
    pub program_id: u32,
    /// Tag.
    pub program_tag: Option<String>,
    /// Position of its first member.
    pub first_member: u32,
    /// How many members it has.
    pub member_count: u32,
    /// Instructions the verifier walked through for it.
    pub verified_instructions: u32,
    /// Why a new program begins here.
    pub reason: Option<String>,
}

/// Something that is attached to a hook.
#[derive(Clone, Debug, Serialize)]
pub struct EntryRecord {
    /// Whether it is ours.
    pub ours: bool,
    /// Kernel id, where the kernel tells it.
    pub program_id: Option<u32>,
    /// Name.
    pub program_name: Option<String>,
    /// Tag.
    pub program_tag: Option<String>,
    /// `xdp link`, `xdp netlink`, `tcx link`, `tcx program` or `filter`.
    pub via: String,
    /// More of how it is attached.
    pub detail: Option<String>,
    /// Kernel link that attaches it.
    pub kernel_link_id: Option<u32>,
    /// Processes that hold it.
    pub held_by: Vec<String>,
}

impl ChainRecord {
    /// The daemon's answer for a hook.
    #[must_use]
    pub fn new(hook: String, shown: &ext::ShowChainResponse) -> Self {
        let nothing = ext::GetChainResponse {
            strategy: "none".to_owned(),
            reason: "no program of bpfman is attached".to_owned(),
            ..Default::default()
        };
        let chain = shown.chain.as_ref().unwrap_or(&nothing);
        let blank = ext::MemberView::default();
        let member = |(index, member): (usize, &ext::ChainMember)| {
            MemberRecord::new(member, shown.members.get(index).unwrap_or(&blank))
        };
        Self {
            hook,
            strategy: chain.strategy.clone(),
            reason: chain.reason.clone(),
            mode: chain.mode.clone(),
            program_id: chain.program_id,
            program_name: filled(&chain.program_name),
            program_tag: filled(&chain.program_tag),
            kernel_link_id: chain.kernel_link_id,
            verified_instructions: chain.verified_insns,
            counters: shown.counters,
            timing: shown.timing,
            held: shown.held,
            held_by: filled(&shown.held_by),
            as_subprograms: shown.as_subprograms,
            keep_attached: shown.keep_attached,
            all_proceeded: shown.all_proceeded,
            failed: shown.failed,
            packets_per_second: shown.packets_per_second,
            fallbacks: shown.fallbacks,
            segments: shown.segments.iter().map(SegmentRecord::from).collect(),
            entries: shown.entries.iter().map(EntryRecord::from).collect(),
            members: chain.members.iter().enumerate().map(member).collect(),
        }
    }
}

impl MemberRecord {
    fn new(member: &ext::ChainMember, view: &ext::MemberView) -> Self {
        Self {
            position: member.position,
            link_id: member.link_id,
            program_id: member.program_id,
            program_name: member.program_name.clone(),
            priority: member.priority,
            proceed_on: member.proceed_on.clone(),
            role: filled(&view.role),
            order_reason: filled(&view.order_reason),
            way: filled(&view.way),
            way_reason: filled(&view.way_reason),
            segment: view.segment,
            image_digest: filled(&view.image_digest),
            runs: view.runs,
            ended: view
                .ended
                .iter()
                .map(|count| EndedRecord { verdict: count.verdict.clone(), packets: count.packets })
                .collect(),
            runs_per_second: view.runs_per_second,
            nanoseconds_per_run: view.nanoseconds_per_run,
        }
    }
}

impl From<&ext::ChainSegment> for SegmentRecord {
    fn from(segment: &ext::ChainSegment) -> Self {
        Self {
            program_id: segment.program_id,
            program_tag: filled(&segment.program_tag),
            first_member: segment.first_member,
            member_count: segment.members,
            verified_instructions: segment.verified_insns,
            reason: filled(&segment.reason),
        }
    }
}

impl From<&ext::HookEntry> for EntryRecord {
    fn from(entry: &ext::HookEntry) -> Self {
        Self {
            ours: entry.ours,
            program_id: entry.program_id,
            program_name: filled(&entry.program_name),
            program_tag: filled(&entry.program_tag),
            via: entry.via.clone(),
            detail: filled(&entry.detail),
            kernel_link_id: entry.kernel_link_id,
            held_by: entry.held_by.clone(),
        }
    }
}

impl Answer for ChainRecord {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        chain_drawing::draw(self, screen)
    }

    fn ids(&self) -> Vec<String> {
        self.members.iter().map(|member| member.link_id.to_string()).collect()
    }
}

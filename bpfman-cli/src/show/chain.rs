//! The chain of one hook: its shape for programs. How it is drawn is in [`super::chain_drawing`].

use bpfman_proto::ext::v1 as ext;

use super::CommandOutput;
use super::chain_drawing;
use super::json::filled;
use super::screen::Screen;
use crate::show::json_shape::json_shape;

json_shape! {
    /// The answer to `chain show`.
    pub struct ChainJson(hook: &str, shown: &ext::ShowChainResponse, chain: &ext::GetChainResponse) {
        /// The hook as it was asked for.
        hook: String = hook.to_owned(),
        /// `direct` (one program, attached itself), `splice` (compiled into one), `kernel` (tcx: one link each), other
        /// strategies of the daemon, or `none` where none of our programs is attached.
        strategy: String = chain.strategy.clone(),
        /// Why this strategy.
        reason: String = chain.reason.clone(),
        /// How the hook is attached: `xdp`, `tcx` or `clsact`.
        mode: String = chain.mode.clone(),
        /// At XDP: where it runs: `native`, `generic` or `offload`.
        xdp_mode: Option<String> = chain.xdp.as_ref().map(|xdp| xdp.mode.clone()),
        /// The driver's error, where it is generic because of it.
        xdp_refusal: Option<String> = chain.xdp.as_ref().and_then(|xdp| filled(&xdp.refusal)),
        /// Program that the hook runs; absent for tcx.
        program_id: Option<u32> = chain.program_id,
        /// Its name.
        program_name: Option<String> = filled(&chain.program_name),
        /// Its tag.
        program_tag: Option<String> = filled(&chain.program_tag),
        /// Kernel link that attaches it.
        kernel_link_id: Option<u32> = chain.kernel_link_id,
        /// Instructions the verifier walked through for it.
        verified_instructions: u32 = chain.verified_insns,
        /// Whether verdicts are counted.
        counters: bool = shown.counters,
        /// Whether times are sampled.
        timing: bool = shown.timing,
        /// Whether changes are refused for now.
        held: bool = shown.held,
        /// Caller who froze it.
        held_by: Option<String> = filled(&shown.held_by),
        /// Seconds until the freeze ends; none if it is not frozen, or lasts until it is released.
        held_seconds_left: Option<u64> = shown.held_seconds_left,
        /// Whether each program is a function of its own.
        as_subprograms: bool = shown.as_subprograms,
        /// Whether an empty chain stays attached.
        keep_attached: bool = shown.keep_attached,
        /// Packets for which every program proceeded; 0 where counters are off.
        all_proceeded: u64 = shown.all_proceeded,
        /// Packets that a tail call lost.
        failed: u64 = shown.failed,
        /// Packets that reach the chain; 0 unless measured.
        packets_per_second: f64 = shown.packets_per_second,
        /// Times another strategy was taken because the verifier refused the first.
        fallbacks: u32 = shown.fallbacks,
        /// Programs that the chain consists of.
        segments: Vec<SegmentJson> = shown.segments.iter().map(SegmentJson::new).collect(),
        /// All that is at the hook, ours and others', in the order that packets meet it.
        entries: Vec<EntryJson> = shown.entries.iter().map(EntryJson::new).collect(),
        /// Ours, in the order they run.
        members: Vec<MemberJson> = members(shown, chain),
    }
}

json_shape! {
    /// A program in a chain.
    pub struct MemberJson(member: &ext::ChainMember, view: &ext::MemberView) {
        /// Place, from 0.
        position: u32 = member.position,
        /// Its link.
        link_id: u32 = member.link_id,
        /// Kernel id of the program loaded alone.
        program_id: u32 = member.program_id,
        /// Its function.
        program_name: String = member.program_name.clone(),
        /// Lower runs earlier.
        priority: i32 = member.priority,
        /// Verdicts after which the next one runs.
        proceed_on: Vec<String> = member.proceed_on.clone(),
        /// What it says it is.
        role: Option<String> = filled(&view.role),
        /// Why it is at this place.
        order_reason: Option<String> = filled(&view.order_reason),
        /// `inline`, `function` or `own`.
        way: Option<String> = filled(&view.way),
        /// Why not inlined.
        way_reason: Option<String> = filled(&view.way_reason),
        /// Place of its program among `segments`.
        segment: u32 = view.segment,
        /// Digest of the image it came from.
        image_digest: Option<String> = filled(&view.image_digest),
        /// Packets that reached it; absent where counters are off.
        runs: Option<u64> = view.runs,
        /// Packets whose way ended here, by verdict.
        ended: Vec<EndedJson> = view.ended.iter().map(EndedJson::new).collect(),
        /// Its verdicts do not count.
        shadow: bool = view.shadow,
        /// What it answered as a shadow, by verdict.
        shadowed: Vec<EndedJson> = view.shadowed.iter().map(EndedJson::new).collect(),
        /// Runs a second; 0 unless measured.
        runs_per_second: f64 = view.runs_per_second,
        /// Mean time; absent where it is not sampled.
        nanoseconds_per_run: Option<f64> = view.nanoseconds_per_run,
    }
}

json_shape! {
    /// Packets that one verdict ended.
    pub struct EndedJson(count: &ext::VerdictCount) {
        /// The verdict.
        verdict: String = count.verdict.clone(),
        /// How many.
        packets: u64 = count.packets,
    }
}

json_shape! {
    /// One of the programs that a chain consists of.
    pub struct SegmentJson(segment: &ext::ChainSegment) {
        /// Kernel id.
        program_id: u32 = segment.program_id,
        /// Tag.
        program_tag: Option<String> = filled(&segment.program_tag),
        /// Position of its first member.
        first_member: u32 = segment.first_member,
        /// How many members it has.
        member_count: u32 = segment.members,
        /// Instructions the verifier walked through for it.
        verified_instructions: u32 = segment.verified_insns,
        /// Why a new program begins here.
        reason: Option<String> = filled(&segment.reason),
    }
}

json_shape! {
    /// Something that is attached to a hook.
    pub struct EntryJson(entry: &ext::HookEntry) {
        /// Whether it is ours.
        ours: bool = entry.ours,
        /// Kernel id, where the kernel tells it.
        program_id: Option<u32> = entry.program_id,
        /// Name.
        program_name: Option<String> = filled(&entry.program_name),
        /// Tag.
        program_tag: Option<String> = filled(&entry.program_tag),
        /// `xdp link`, `xdp netlink`, `tcx link`, `tcx program` or `filter`.
        via: String = entry.via.clone(),
        /// More of how it is attached.
        detail: Option<String> = filled(&entry.detail),
        /// Kernel link that attaches it.
        kernel_link_id: Option<u32> = entry.kernel_link_id,
        /// Processes that hold it.
        held_by: Vec<String> = entry.held_by.clone(),
    }
}

impl ChainJson {
    /// The daemon's answer for a hook, which may have no chain.
    #[must_use]
    pub fn of_hook(hook: &str, shown: &ext::ShowChainResponse) -> Self {
        let nothing = ext::GetChainResponse {
            strategy: "none".to_owned(),
            reason: "no program of bpfman is attached".to_owned(),
            ..Default::default()
        };
        Self::new(hook, shown, shown.chain.as_ref().unwrap_or(&nothing))
    }
}

/// Members, each with what else the daemon says of it; an older one says nothing else.
fn members(shown: &ext::ShowChainResponse, chain: &ext::GetChainResponse) -> Vec<MemberJson> {
    let view = |position: usize| shown.members.get(position).cloned().unwrap_or_default();
    let members = chain.members.iter().enumerate();
    members.map(|(position, member)| MemberJson::new(member, &view(position))).collect()
}

impl CommandOutput for ChainJson {
    fn table(&self, screen: Screen) -> String {
        chain_drawing::draw(self, screen)
    }

    fn ids(&self) -> Vec<String> {
        self.members.iter().map(|member| member.link_id.to_string()).collect()
    }
}

//! Chain of one hook, as JSON. [`super::chain_drawing`] draws it.

use bpfman_proto::ext::v1 as ext;

use super::CommandOutput;
use super::chain_drawing;
use super::json::filled;
use super::screen::Screen;
use crate::show::json_shape::json_shape;

json_shape! {
    pub struct ChainJson(hook: &str, shown: &ext::ShowChainResponse, chain: &ext::GetChainResponse) {
        hook: String = hook.to_owned(),
        /// `direct` (one program, attached itself), `splice` (compiled into one), `kernel` (tcx: one link each), other
        /// strategies of the daemon, or `none` if no program of the daemon is attached.
        strategy: String = chain.strategy.clone(),
        reason: String = chain.reason.clone(),
        /// Kind of attachment: `xdp`, `tcx` or `clsact`.
        mode: String = chain.mode.clone(),
        /// Mode of XDP: `native`, `generic` or `offload`.
        xdp_mode: Option<String> = chain.xdp.as_ref().map(|xdp| xdp.mode.clone()),
        /// Driver's error, if XDP is generic because of it.
        xdp_refusal: Option<String> = chain.xdp.as_ref().and_then(|xdp| filled(&xdp.refusal)),
        /// Program that the hook runs; absent for tcx.
        program_id: Option<u32> = chain.program_id,
        program_name: Option<String> = filled(&chain.program_name),
        program_tag: Option<String> = filled(&chain.program_tag),
        kernel_link_id: Option<u32> = chain.kernel_link_id,
        /// Number of instructions that the verifier processed for it.
        verified_instructions: u32 = chain.verified_insns,
        /// True if verdicts are counted.
        counters: bool = shown.counters,
        /// True if times are sampled.
        timing: bool = shown.timing,
        /// True if the hook is frozen.
        held: bool = shown.held,
        held_by: Option<String> = filled(&shown.held_by),
        /// Seconds until the freeze ends; none without a freeze, or if it lasts until it is released.
        held_seconds_left: Option<u64> = shown.held_seconds_left,
        /// True if each program is a separate function.
        as_subprograms: bool = shown.as_subprograms,
        /// True if an empty chain stays attached.
        keep_attached: bool = shown.keep_attached,
        /// Number of packets for which every program proceeded; 0 without counters.
        all_proceeded: u64 = shown.all_proceeded,
        /// Number of packets lost by a tail call.
        failed: u64 = shown.failed,
        /// Rate of packets that reach the chain; 0 unless measured.
        packets_per_second: f64 = shown.packets_per_second,
        /// Number of times another strategy was used because the verifier refused the first.
        fallbacks: u32 = shown.fallbacks,
        /// Level at which the chain was built: `none`, `fold` or `share`.
        optimisation: Option<String> = filled(&shown.optimisation),
        /// Highest level, set by `chain optimise`.
        optimisation_limit: Option<String> = filled(&shown.optimisation_limit),
        /// Number of instructions that read-only data decides.
        folded_instructions: u32 = shown.folded_instructions,
        /// Number of header tests and addresses that a program reuses from an earlier one.
        shared_header_tests: u32 = shown.shared_header_tests,
        segments: Vec<SegmentJson> = shown.segments.iter().map(SegmentJson::new).collect(),
        /// All programs at the hook, including third-party ones, in the order that packets meet them.
        entries: Vec<EntryJson> = shown.entries.iter().map(EntryJson::new).collect(),
        /// Members, in the order of execution.
        members: Vec<MemberJson> = members(shown, chain),
    }
}

json_shape! {
    pub struct MemberJson(member: &ext::ChainMember, view: &ext::MemberView) {
        position: u32 = member.position,
        link_id: u32 = member.link_id,
        /// Kernel id of the program loaded alone.
        program_id: u32 = member.program_id,
        program_name: String = member.program_name.clone(),
        /// Priority; lower runs earlier.
        priority: i32 = member.priority,
        /// Verdicts after which the next member runs.
        proceed_on: Vec<String> = member.proceed_on.clone(),
        role: Option<String> = filled(&view.role),
        order_reason: Option<String> = filled(&view.order_reason),
        /// `inline`, `function` or `own`.
        way: Option<String> = filled(&view.way),
        /// Reason why it is not inlined.
        way_reason: Option<String> = filled(&view.way_reason),
        /// Index of its program in `segments`.
        segment: u32 = view.segment,
        image_digest: Option<String> = filled(&view.image_digest),
        /// Number of packets that reached it; absent without counters.
        runs: Option<u64> = view.runs,
        /// Number of packets that ended here, by verdict.
        ended: Vec<EndedJson> = view.ended.iter().map(EndedJson::new).collect(),
        /// True if the verdicts are ignored.
        shadow: bool = view.shadow,
        /// Number of packets by verdict of a shadow.
        shadowed: Vec<EndedJson> = view.shadowed.iter().map(EndedJson::new).collect(),
        /// Runs per second; 0 unless measured.
        runs_per_second: f64 = view.runs_per_second,
        /// Mean duration of a run; absent without sampling.
        nanoseconds_per_run: Option<f64> = view.nanoseconds_per_run,
    }
}

json_shape! {
    /// Number of packets with one verdict.
    pub struct EndedJson(count: &ext::VerdictCount) {
        verdict: String = count.verdict.clone(),
        packets: u64 = count.packets,
    }
}

json_shape! {
    pub struct SegmentJson(segment: &ext::ChainSegment) {
        program_id: u32 = segment.program_id,
        program_tag: Option<String> = filled(&segment.program_tag),
        /// Position of its first member.
        first_member: u32 = segment.first_member,
        member_count: u32 = segment.members,
        /// Number of instructions that the verifier processed for it.
        verified_instructions: u32 = segment.verified_insns,
        /// Reason why a new program begins here.
        reason: Option<String> = filled(&segment.reason),
    }
}

json_shape! {
    /// Program at a hook.
    pub struct EntryJson(entry: &ext::HookEntry) {
        /// True if it belongs to the daemon.
        ours: bool = entry.ours,
        /// Kernel id, if the kernel reports it.
        program_id: Option<u32> = entry.program_id,
        program_name: Option<String> = filled(&entry.program_name),
        program_tag: Option<String> = filled(&entry.program_tag),
        /// `xdp link`, `xdp netlink`, `tcx link`, `tcx program` or `filter`.
        via: String = entry.via.clone(),
        detail: Option<String> = filled(&entry.detail),
        kernel_link_id: Option<u32> = entry.kernel_link_id,
        held_by: Vec<String> = entry.held_by.clone(),
    }
}

impl ChainJson {
    /// Converts the daemon's answer for a hook, which may have no chain.
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

/// Returns the members, with empty details if the daemon is too old to report them.
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

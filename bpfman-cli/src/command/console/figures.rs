//! A reading of what programs and chains count, as the page shows it.

use bpfman_proto::ext::v1 as ext;

use crate::show::chain::EndedJson;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;

json_shape! {
    /// One reading. Counts are cumulative: the page takes differences.
    pub struct PageFigures(figures: &ext::Figures) {
        /// Nanoseconds since the stream's first reading.
        at_ns: u64 = figures.at_ns,
        /// This stream has the kernel count and time runs.
        runs_timed: bool = figures.runs_timed,
        /// Programs.
        programs: Vec<PageProgram> = figures.programs.iter().map(PageProgram::new).collect(),
        /// Chains.
        chains: Vec<PageChain> = figures.chains.iter().map(PageChain::new).collect(),
    }
}

json_shape! {
    /// A program.
    pub struct PageProgram(program: &ext::ProgramFigures) {
        /// The kernel's id.
        id: u32 = program.id,
        /// Runs while anyone had the kernel count them.
        runs: u64 = program.runs,
        /// Their nanoseconds.
        nanoseconds: u64 = program.nanoseconds,
        /// Its nanoseconds as a member of chains, as far as known.
        nanoseconds_in_chains: u64 = program.nanoseconds_in_chains,
        /// Events that it missed.
        missed: u64 = program.missed,
    }
}

json_shape! {
    /// A chain.
    pub struct PageChain(chain: &ext::ChainFigures) {
        /// The hook, as commands name it.
        hook: String = chain.hook.clone(),
        /// Which strategy it has.
        strategy: String = chain.strategy.clone(),
        /// Whether verdicts are counted.
        counters: bool = chain.counters,
        /// Whether times are sampled.
        timing: bool = chain.timing,
        /// Packets that came: each reaches the first member. Null without counters.
        packets: Option<u64> = chain.members.first().and_then(|member| member.runs),
        /// Packets for which every member proceeded.
        all_proceeded: u64 = chain.all_proceeded,
        /// Packets that a tail call lost.
        failed: u64 = chain.failed,
        /// In the order they run.
        members: Vec<PageMember> = chain.members.iter().map(PageMember::new).collect(),
    }
}

json_shape! {
    /// A member of a chain.
    pub struct PageMember(member: &ext::MemberFigures) {
        /// Its link.
        link_id: u32 = member.link_id,
        /// Its program.
        program_id: u32 = member.program_id,
        /// Whose it is.
        owner: Option<String> = filled(&member.owner),
        /// Its verdicts do not count.
        shadow: bool = member.shadow,
        /// Packets that reached it; null without counters.
        runs: Option<u64> = member.runs,
        /// Packets whose way ended with it, by verdict; of a shadow what it answered.
        ended: Vec<EndedJson> = member.ended.iter().map(EndedJson::new).collect(),
        /// Mean nanoseconds of a run; null where they are not known.
        nanoseconds_per_run: Option<f64> = member.nanoseconds_per_run,
    }
}

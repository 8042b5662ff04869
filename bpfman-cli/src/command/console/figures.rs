//! Reading of the statistics of programs and chains, for the page.

use bpfman_proto::ext::v1 as ext;

use crate::show::chain::EndedJson;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;

json_shape! {
    /// Reading. Counts are cumulative; the page computes differences.
    pub struct PageFigures(figures: &ext::Figures) {
        at_ns: u64 = figures.at_ns,
        runs_timed: bool = figures.runs_timed,
        programs: Vec<PageProgram> = figures.programs.iter().map(PageProgram::new).collect(),
        chains: Vec<PageChain> = figures.chains.iter().map(PageChain::new).collect(),
    }
}

json_shape! {
    pub struct PageProgram(program: &ext::ProgramFigures) {
        id: u32 = program.id,
        /// Number of runs; the kernel counts them only while a client requests it.
        runs: u64 = program.runs,
        nanoseconds: u64 = program.nanoseconds,
        /// CPU time as a member of chains, in nanoseconds, as far as known.
        nanoseconds_in_chains: u64 = program.nanoseconds_in_chains,
        missed: u64 = program.missed,
    }
}

json_shape! {
    pub struct PageChain(chain: &ext::ChainFigures) {
        hook: String = chain.hook.clone(),
        strategy: String = chain.strategy.clone(),
        counters: bool = chain.counters,
        timing: bool = chain.timing,
        /// Number of packets, which all reach the first member. Null without counters.
        packets: Option<u64> = chain.members.first().and_then(|member| member.runs),
        all_proceeded: u64 = chain.all_proceeded,
        failed: u64 = chain.failed,
        members: Vec<PageMember> = chain.members.iter().map(PageMember::new).collect(),
    }
}

json_shape! {
    pub struct PageMember(member: &ext::MemberFigures) {
        link_id: u32 = member.link_id,
        program_id: u32 = member.program_id,
        owner: Option<String> = filled(&member.owner),
        shadow: bool = member.shadow,
        /// Number of packets that reached the member; null without counters.
        runs: Option<u64> = member.runs,
        /// Number of packets that ended at the member, by verdict; for a shadow, all its verdicts.
        ended: Vec<EndedJson> = member.ended.iter().map(EndedJson::new).collect(),
        /// Mean duration of a run, in nanoseconds; null if unknown.
        nanoseconds_per_run: Option<f64> = member.nanoseconds_per_run,
    }
}

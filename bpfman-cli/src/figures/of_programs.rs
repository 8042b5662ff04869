//! Rates of programs: their own runs, and those as members of chains.

use std::collections::{HashMap, HashSet};

use bpfman_proto::ext::v1 as ext;

use super::{ProgramRates, Window, filled};

/// Runs of a program as a member of chains between two readings.
#[derive(Default)]
struct InChains {
    runs: u64,
    /// Counted runs with a known duration.
    timed: u64,
    /// True if a chain does not report the program's duration.
    is_partly_timed: bool,
    is_counted: bool,
}

pub(super) fn programs(
    then: &ext::Figures,
    now: &ext::Figures,
    window: Window,
    timed: bool,
) -> Vec<ProgramRates> {
    let before: HashMap<u32, &ext::ProgramFigures> =
        then.programs.iter().map(|program| (program.id, program)).collect();
    let in_chains = in_chains(then, now);
    let none = (ext::ProgramFigures::default(), InChains::default());
    let rates = |program: &ext::ProgramFigures| {
        let then = before.get(&program.id).copied().unwrap_or(&none.0);
        let chains = in_chains.get(&program.id).unwrap_or(&none.1);
        let own = program.runs.saturating_sub(then.runs);
        let nanoseconds = program.nanoseconds.saturating_sub(then.nanoseconds)
            + program.nanoseconds_in_chains.saturating_sub(then.nanoseconds_in_chains);
        let with_time = own + chains.timed;
        // If all runs are in chains without timing, nothing is known.
        let is_known = timed && !(chains.is_partly_timed && with_time == 0);
        let is_counted = timed || chains.is_counted;
        ProgramRates {
            program_id: program.id,
            name: program.name.clone(),
            program_type: program.r#type.clone(),
            managed: program.ours,
            owner: filled(&program.owner),
            application: filled(&program.application),
            image: filled(&program.image),
            image_digest: filled(&program.image_digest),
            cpu_percent: is_known.then(|| window.percent(nanoseconds)),
            is_partly_timed: timed && chains.is_partly_timed,
            runs_per_second: is_counted.then(|| window.rate(0, own + chains.runs)),
            nanoseconds_per_run: (is_known && with_time > 0).then(|| nanoseconds as f64 / with_time as f64),
            missed_per_second: timed.then(|| window.rate(then.missed, program.missed)),
            memory_bytes: program.memory_bytes.into(),
            jited_bytes: program.jited_bytes,
            verified_instructions: program.verified_insns,
            loaded_at: program.loaded_at.clone(),
            places: program.places.clone(),
        }
    };
    now.programs.iter().map(rates).collect()
}

/// Returns the CPU time of programs and chains between two readings. Several hooks may run one chain.
pub(super) fn all_nanoseconds(then: &ext::Figures, now: &ext::Figures) -> u64 {
    let counts = |figures: &ext::Figures| -> HashMap<u32, u64> {
        let chains = figures.chains.iter().map(|chain| (chain.entry_program_id, chain.nanoseconds));
        let programs = figures.programs.iter().map(|program| (program.id, program.nanoseconds));
        chains.chain(programs).collect()
    };
    let before = counts(then);
    let took = |(id, now): (u32, u64)| now.saturating_sub(before.get(&id).copied().unwrap_or(0));
    counts(now).into_iter().map(took).sum()
}

fn in_chains(then: &ext::Figures, now: &ext::Figures) -> HashMap<u32, InChains> {
    let before: HashMap<u32, u64> = then
        .chains
        .iter()
        .flat_map(|chain| &chain.members)
        .map(|member| (member.link_id, member.runs.unwrap_or(0)))
        .collect();
    let mut found: HashMap<u32, InChains> = HashMap::new();
    for chain in &now.chains {
        let programs: HashSet<u32> = chain.members.iter().map(|member| member.program_id).collect();
        for member in &chain.members {
            // The hook runs the program itself, so the kernel counts it.
            if member.program_id == chain.entry_program_id {
                continue;
            }
            let runs = member.runs.unwrap_or(0);
            let came = runs.saturating_sub(before.get(&member.link_id).copied().unwrap_or(0));
            let sums = found.entry(member.program_id).or_default();
            sums.runs += came;
            sums.is_counted |= member.runs.is_some();
            if member.runs.is_some() && (chain.timing || programs.len() == 1) {
                sums.timed += came;
            } else {
                sums.is_partly_timed = true;
            }
        }
    }
    found
}

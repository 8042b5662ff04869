//! Metrics of programs: runs, time and memory.

use std::collections::HashSet;

use bpfman_metrics::Exposition;
use bpfman_model::ProgramId;
use bpfmand_engine::{ProgramFigures, RecordCounts};

use super::DaemonStates;
use super::labels::ProgramLabels;
use crate::catalogue as is;
use crate::monotonic_sums::MonotonicSums;

/// Runs, nanoseconds, missed runs, and nanoseconds in chains.
type ProgramSums = MonotonicSums<ProgramId, ProgramLabels, 4>;

pub fn add(
    samples: &mut Exposition,
    sums: &mut ProgramSums,
    programs: &[ProgramFigures],
    recorded: &RecordCounts,
    states: DaemonStates,
) {
    let mut own = Vec::new();
    for figures in programs {
        let Some(record) = &figures.record else { continue };
        let labels = ProgramLabels::of(record);
        samples.add(&is::PROGRAMS, labels.values(), 1);
        samples.add(&is::PROGRAM_MEMORY, labels.values(), u64::from(figures.facts.bytes_memlock));
        let of_link = [labels.type_name, &labels.owner, &labels.application];
        samples.add(&is::LINKS, of_link, figures.places.count() as u64);
        let counts = figures.counts;
        own.push((figures.id, labels, [counts.runs, counts.nanoseconds, counts.missed, figures.in_chains]));
    }
    let there: HashSet<ProgramId> = own.iter().map(|(id, ..)| *id).collect();
    let gone = recorded.programs.iter().filter(|id| !there.contains(id)).count() as u64;
    samples.add(&is::PROGRAMS_LOST, [], recorded.lost_programs + gone);
    samples.add(&is::PROGRAMS_OF_OTHERS, [], (programs.len() - own.len()) as u64);
    samples.add(&is::PROGRAMS_OVER_LIMIT, [], recorded.over_cpu_limit);
    for (labels, [runs, nanoseconds, missed, in_chains]) in sums.take(own) {
        samples.add(&is::PROGRAM_MISSED, labels.values(), *missed);
        // The kernel counts runs only while statistics are enabled: unchanged counts are meaningless otherwise.
        if states.runs_counted {
            samples.add(&is::PROGRAM_RUNS, labels.values(), *runs);
            samples.add(&is::PROGRAM_RUN_SECONDS, labels.values(), *nanoseconds as f64 / 1e9);
        }
        if *in_chains > 0 {
            samples.add(&is::PROGRAM_IN_CHAINS, labels.values(), *in_chains as f64 / 1e9);
        }
    }
}

//! Figures of programs that are in no chain: trace points, probes, fentry, fexit and LSM.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_application::rollout::Gates;
use bpfman_apply::failure::{Unreachable, refusal};
use bpfman_apply::report::{LinkOutcome, ProgramReport, Report};
use bpfman_proto::ext::v1::{ProgramRuns, SampleRunsRequest};

use super::Shared;
use super::gates::Slot;

/// Types whose programs are members of chains, which count by themselves.
const CHAINED: [&str; 3] = ["XDP", "TC", "TCX"];

/// What all samples of a soak came to, by kernel id.
#[derive(Clone, Debug, Default)]
pub struct Events(BTreeMap<u32, Sampled>);

/// What the samples of one program came to.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    runs: u64,
    nanoseconds: u64,
    /// Events that it had missed when it was first looked at, and last.
    missed: (u64, u64),
}

impl Events {
    fn add(&mut self, came: &ProgramRuns) {
        let first = Sampled { missed: (came.missed, came.missed), ..Sampled::default() };
        let sampled = self.0.entry(came.program_id).or_insert(first);
        sampled.runs += came.runs;
        sampled.nanoseconds += came.nanoseconds;
        sampled.missed.1 = came.missed;
    }

    fn slot(&self, program: &ProgramReport) -> Option<Slot> {
        let sampled = self.0.get(&program.id?)?;
        Some(Slot {
            program: program.name.clone(),
            hook: program.program_type.to_owned(),
            runs: Some(sampled.runs),
            nanoseconds: (sampled.runs > 0).then(|| sampled.nanoseconds as f64 / sampled.runs as f64),
            lost: sampled.missed.1.saturating_sub(sampled.missed.0),
            is_of_events: true,
            ..Slot::default()
        })
    }
}

/// Counts for a while, if a gate asks for what comes out, and answers one slot for each program.
pub async fn look(
    shared: &Shared,
    report: &Report,
    gates: &Gates,
    events: &mut Events,
    time: Duration,
) -> Result<Vec<Slot>, Unreachable> {
    let programs: Vec<&ProgramReport> =
        report.programs.iter().filter(|program| is_of_events(program)).collect();
    let is_asked = gates.max_nanoseconds_per_run.is_some() || gates.max_errors.is_some();
    if programs.is_empty() || !is_asked {
        return Ok(Vec::new());
    }
    shared.metrics.daemon_calls.add("SampleRuns", 1);
    let request = SampleRunsRequest {
        program_ids: programs.iter().filter_map(|program| program.id).collect(),
        sample_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
    };
    match shared.daemon.node().sample_runs(request).await {
        Ok(answer) => answer.into_inner().programs.iter().for_each(|came| events.add(came)),
        Err(status) => {
            // An older daemon or kernel: the gates then hold, and the message says what is known.
            let why = refusal(&shared.daemon, &status)?.failure();
            tracing::warn!(why = why.message, "the runs of programs cannot be counted");
        }
    }
    Ok(programs.into_iter().filter_map(|program| events.slot(program)).collect())
}

/// Whether it runs at events: it is attached, and in no chain.
fn is_of_events(program: &ProgramReport) -> bool {
    !CHAINED.contains(&program.program_type)
        && program.links.iter().any(|link| link.status == LinkOutcome::Attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> ProgramReport {
        ProgramReport {
            name: "snoop".to_owned(),
            program_type: "TracePoint",
            id: Some(7),
            ..ProgramReport::default()
        }
    }

    #[test]
    fn samples_add_up_and_misses_of_before_do_not_count() {
        let mut events = Events::default();
        assert_eq!(events.slot(&program()), None);
        for (runs, nanoseconds, missed) in [(0, 0, 40), (10, 900, 40), (30, 5100, 43)] {
            events.add(&ProgramRuns { program_id: 7, runs, nanoseconds, missed });
        }
        let slot = events.slot(&program()).unwrap();
        assert_eq!((slot.runs, slot.nanoseconds, slot.lost), (Some(40), Some(150.0), 3));
    }

    #[test]
    fn what_never_ran_has_no_time() {
        let mut events = Events::default();
        events.add(&ProgramRuns { program_id: 7, ..ProgramRuns::default() });
        assert_eq!(events.slot(&program()).unwrap().nanoseconds, None);
    }
}

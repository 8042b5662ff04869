//! Statistics of programs outside of chains: TCX, tracepoints, probes, fentry, fexit and LSM.

use std::time::Duration;

use bpfman_application::rollout::Gates;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::{LinkOutcome, ProgramReport, Report};
use bpfman_proto::ext::v1::SampleRunsRequest;

use crate::agent::gates::{EventFigures, SlotFigures};
use crate::agent::shared::Shared;

const CHAINED: [&str; 2] = ["XDP", "TC"];

pub async fn sample(
    shared: &Shared,
    report: &Report,
    gates: &Gates,
    events: &mut EventFigures,
    time: Duration,
) -> Result<Vec<SlotFigures>, Unreachable> {
    let programs: Vec<&ProgramReport> =
        report.programs.iter().filter(|program| is_of_events(program)).collect();
    let is_asked = gates.max_nanoseconds_per_run.is_some() || gates.max_errors.is_some();
    if programs.is_empty() || !is_asked {
        return Ok(Vec::new());
    }
    let request = SampleRunsRequest {
        program_ids: programs.iter().filter_map(|program| program.id).collect(),
        sample_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
    };
    match shared.call("SampleRuns", shared.daemon.node().sample_runs(request)).await? {
        Ok(answer) => answer.programs.iter().for_each(|came| events.add(came)),
        // An older daemon or kernel cannot sample: gates that need the statistics do not hold.
        Err(why) => {
            tracing::warn!(why = why.failure().message, "the runs of programs cannot be counted");
        }
    }
    Ok(programs.into_iter().map(|program| events.slot(program)).collect())
}

fn is_of_events(program: &ProgramReport) -> bool {
    !CHAINED.contains(&program.program_type)
        && program.links.iter().any(|link| link.status == LinkOutcome::Attached)
}

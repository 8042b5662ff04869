//! Daemon part of a reconciliation: brings the daemon's programs to the state of a spec.

use std::time::Instant;

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::node::NodeFailure;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::node_reason::NodeReason;
use bpfman_apply::report::{Report, ReportedLoad};
use bpfman_proto::Reason;

use crate::agent::memory::application::LoadMemory;
use crate::agent::memory::registry_backoff::RegistryBackoff;
use crate::agent::node::facts;
use crate::agent::node::predecessors::predecessors;
use crate::agent::objects::state::StateObject;
use crate::agent::registry::credentials::authorize;
use crate::agent::shared::Shared;

#[derive(Clone, Debug)]
pub enum AppliedSpec {
    /// The daemon was called.
    Report(Report),
    /// The daemon was not called: running programs are unchanged.
    Refused(NodeFailure),
}

/// Applies a spec. The API server is needed for a pull secret only.
pub async fn apply(
    shared: &Shared,
    memory: &mut LoadMemory,
    state: &StateObject,
    spec: &ApplicationSpec,
    version: &str,
) -> Result<AppliedSpec, Unreachable> {
    let mut desired = facts::desired(shared, state, spec).await?;
    if !memory.settled {
        desired.predecessors = predecessors(shared, state).await?;
    }
    if let Some(problem) = desired.refused.first() {
        let hint = "correct the application; nothing was changed here";
        let failure = NodeReason::Daemon(Reason::Invalid).failure(&problem.to_string(), hint);
        return Ok(AppliedSpec::Refused(failure));
    }
    let authorized = match authorize(shared, &memory.registry, spec, desired, version).await? {
        Ok(authorized) => authorized,
        Err(failure) => return Ok(AppliedSpec::Refused(failure)),
    };
    let held = authorized.desired.load.as_ref().is_some_and(|load| load.held.is_some());
    let report = shared.make(&authorized.desired, authorized.credentials.as_ref()).await?;
    if report.load == ReportedLoad::Loaded && report.failure.is_none() {
        memory.settled = true;
    }
    if !held {
        note(&mut memory.registry, version, shared.daemon_link.now().life, &report);
    }
    shared.memories.count(&state.application, &report);
    Ok(AppliedSpec::Report(report))
}

fn note(registry: &mut RegistryBackoff, version: &str, daemon: u64, report: &Report) {
    let failure = match report.load {
        ReportedLoad::Loaded => report.not_compared.clone(),
        ReportedLoad::OlderRuns | ReportedLoad::Failed => report.failure.clone(),
        ReportedLoad::NotWanted | ReportedLoad::UnloadFailed => return,
    };
    match failure {
        Some(why) => registry.failed(version, daemon, why, Instant::now()),
        None => registry.answered(version),
    }
}

//! The daemon's part of a reconcile: its programs become what a spec wants.

use std::time::Instant;

use bpfman_application::spec::Spec;
use bpfman_application::state::node::Failure;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::{LoadOutcome, Report};

use crate::agent::memory::application::LoadMemory;
use crate::agent::memory::registry_backoff::RegistryBackoff;
use crate::agent::node::facts;
use crate::agent::node::predecessors::predecessors;
use crate::agent::objects::state::StateObject;
use crate::agent::registry::credentials::authorize;
use crate::agent::shared::Shared;

/// What came of an attempt.
#[derive(Clone, Debug)]
pub enum Applied {
    /// The daemon was asked.
    Report(Report),
    /// It was not: what runs is as it was.
    Refused(Failure),
}

/// Makes the programs what the spec wants. Needs the API server for a pull secret only.
///
/// # Errors
/// [`Unreachable`].
pub async fn apply(
    shared: &Shared,
    memory: &mut LoadMemory,
    state: &StateObject,
    spec: &Spec,
    version: &str,
) -> Result<Applied, Unreachable> {
    let mut desired = facts::desired(shared, state, spec).await?;
    if !memory.settled {
        desired.predecessors = predecessors(shared, state).await?;
    }
    if let Some(problem) = desired.refused.first() {
        return Ok(Applied::Refused(Failure {
            reason: "invalid".to_owned(),
            message: problem.to_string(),
            hint: "correct the application; nothing was changed here".to_owned(),
            ..Failure::default()
        }));
    }
    let authorized = match authorize(shared, &memory.registry, spec, desired, version).await? {
        Ok(authorized) => authorized,
        Err(failure) => return Ok(Applied::Refused(failure)),
    };
    let held = authorized.desired.load.as_ref().is_some_and(|load| load.held.is_some());
    let report = shared.make(&authorized.desired, authorized.credentials.as_ref()).await?;
    // Nothing is left of those before, where what is wanted runs and nothing failed.
    if report.load == LoadOutcome::Loaded && report.failure.is_none() {
        memory.settled = true;
    }
    if !held {
        note(&mut memory.registry, version, shared.daemon_link.now().life, &report);
    }
    shared.memories.count(&state.application, &report);
    Ok(Applied::Report(report))
}

/// Notes how asking the registry went, if it was asked.
fn note(registry: &mut RegistryBackoff, version: &str, daemon: u64, report: &Report) {
    let failure = match report.load {
        LoadOutcome::Loaded => report.not_compared.clone(),
        LoadOutcome::OlderRuns | LoadOutcome::Failed => report.failure.clone(),
        LoadOutcome::NotWanted | LoadOutcome::UnloadFailed => return,
    };
    match failure {
        Some(why) => registry.failed(version, daemon, why, Instant::now()),
        None => registry.answered(version),
    }
}

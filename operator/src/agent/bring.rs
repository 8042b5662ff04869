//! The daemon's part of a look: it brings the programs to what a spec wants.

use std::time::Instant;

use bpfman_application::spec::Spec;
use bpfman_application::state::node::Failure;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::plan;
use bpfman_apply::reconcile::reconcile;
use bpfman_apply::report::{LoadOutcome, Report};

use super::Shared;
use super::credentials::authorize;
use super::facts;
use super::heir::predecessors;
use super::removal::owner;
use super::state::StateObject;
use bpfman_application::scope::ApplicationKey;

/// What came of an attempt.
#[derive(Clone, Debug)]
pub enum Brought {
    /// The daemon was asked.
    Report(Report),
    /// It was not: what runs is as it was.
    Refused(Failure),
}

/// Brings the programs to what the spec wants. Needs the API server for a pull secret only.
///
/// # Errors
/// [`Unreachable`].
pub async fn bring(
    shared: &Shared,
    key: &ApplicationKey,
    state: &StateObject,
    spec: &Spec,
    version: &str,
) -> Result<Brought, Unreachable> {
    let facts = facts::gather(shared, key, spec).await?;
    let mut desired = plan::desired(&owner(state), spec, &facts);
    desired.predecessors = predecessors(shared, key, state).await?;
    if let Some(problem) = desired.refused.first() {
        return Ok(Brought::Refused(Failure {
            reason: "invalid".to_owned(),
            message: problem.to_string(),
            hint: "correct the application; nothing was changed here".to_owned(),
            ..Failure::default()
        }));
    }
    let authorized = match authorize(shared, spec, desired, version).await? {
        Ok(authorized) => authorized,
        Err(failure) => return Ok(Brought::Refused(failure)),
    };
    let held = authorized.desired.load.as_ref().is_some_and(|load| load.held.is_some());
    shared.metrics.daemon_calls.add("reconcile", 1);
    let report = reconcile(&shared.daemon, &authorized.desired, authorized.credentials.as_ref()).await?;
    for done in &report.done {
        tracing::info!(%key, "{done}");
    }
    // Nothing is left of those before, where what is wanted runs and nothing failed.
    if report.load == LoadOutcome::Loaded && report.failure.is_none() {
        shared.settled.note(&state.uid);
    }
    if !held {
        note(shared, &state.uid, version, &report);
    }
    shared.counts.note(key, &report);
    Ok(Brought::Report(report))
}

/// Notes how asking the registry went, if it was asked.
fn note(shared: &Shared, uid: &str, version: &str, report: &Report) {
    let failure = match report.load {
        LoadOutcome::Loaded => report.not_compared.clone(),
        LoadOutcome::OlderRuns | LoadOutcome::Failed => report.failure.clone(),
        LoadOutcome::NotWanted | LoadOutcome::UnloadFailed => return,
    };
    match failure {
        Some(why) => shared.asked.failed(uid, version, why, Instant::now()),
        None => shared.asked.answered(uid, version),
    }
}

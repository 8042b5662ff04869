//! Reconciles one application: determines its desired state, has the daemon apply it, and writes the status.

mod absent;
pub mod apply;
mod removal;
pub mod role;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::application::AppLoadStatus;
use bpfman_apply::report::ReportedLoad;

use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::backoff::jittered;

use self::absent::{daemon_away, node_is_gone};
use self::apply::{AppliedSpec, apply};
use self::removal::{RemovalReason, remove};
use self::role::{NodeRole, role};
use crate::agent::memory::ApplicationMemory;
use crate::agent::memory::application::StateMemory;
use crate::agent::node::composition;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::revision::{ReadRevisions, RevisionError};
use crate::agent::objects::state::{StateObject, Status, own};
use crate::agent::rollout::preflight::{self, PreflightReply};
use crate::agent::rollout::soak;
use crate::agent::shared::Shared;
use crate::agent::shared::ended::{Ended, Stop};
use crate::agent::shared::write_status::write_status;
use crate::agent::status::{ReconcileOutcome, StatusContext, failure, status};

const PENDING_AFTER: Duration = Duration::from_secs(2);

pub async fn reconcile(shared: &Shared, key: &ApplicationKey) -> Ended {
    let mut turn = shared.memories.turn(key).await;
    let memory = &mut *turn;
    let ended = match whole(shared, memory, key).await {
        Ok(ended) => {
            memory.broken_off = 0;
            ended
        }
        Err(Stop::Daemon(away)) => daemon_away(shared, memory, key, &away).await,
        Err(Stop::Api(error)) => {
            tracing::warn!(%key, %error, "the API server");
            match error {
                ApiError::Away(_) => Ended::Waiting(error.reason().to_owned()),
                _ => Ended::Failed(error.reason().to_owned()),
            }
        }
    };
    if !shared.cache.known().has(key) {
        shared.memories.forget(key, turn);
    }
    ended
}

async fn whole(shared: &Shared, memory: &mut ApplicationMemory, key: &ApplicationKey) -> Result<Ended, Stop> {
    let (application, states, node_is_there) = {
        let known = shared.cache.known();
        let states: Vec<_> = known.states_of(key).cloned().collect();
        (known.applications.get(key).cloned(), states, !known.node.is_empty())
    };
    memory.keep_states(|uid| states.iter().any(|state| state.uid == uid));
    let mine = application.as_ref().and_then(|one| own(&states, one, &shared.node)).cloned();
    let (current, old): (Vec<_>, Vec<_>) =
        states.into_iter().partition(|state| mine.as_ref().is_some_and(|mine| mine.name == state.name));
    for state in old {
        if application.is_none() && !state.deleted && still_there(shared, key, &state).await? {
            return Ok(Ended::Later(Duration::from_secs(1)));
        }
        // Delete a second state object for the same application too: the garbage collector keeps it.
        let second = application.as_ref().is_some_and(|one| one.uid == state.application_uid);
        let why = if second { RemovalReason::NotSelected } else { RemovalReason::Deleted };
        let ended = remove(shared, memory, &state, why, None).await?;
        if ended != Ended::Done {
            return Ok(ended);
        }
    }
    let Some(application) = application else {
        shared.memories.leave(key);
        return Ok(Ended::Done);
    };
    let state = current.into_iter().next();
    if application.deleted || state.as_ref().is_some_and(|state| state.deleted) {
        let Some(state) = state else { return Ok(Ended::Done) };
        // Without the agent's finalizer, the object only waits for other finalizers.
        return match state.has_finalizer() {
            true => {
                remove(shared, memory, &state, RemovalReason::Deleted, application.spec.as_ref().ok()).await
            }
            false => Ok(Ended::Done),
        };
    }
    if !node_is_there {
        return Ok(node_is_gone(shared, memory, &application, state.as_deref()).await?);
    }
    act(shared, memory, &application, state).await
}

/// Returns whether the application exists in the database: the watch's list may come from a stale cache.
async fn still_there(shared: &Shared, key: &ApplicationKey, state: &StateObject) -> Result<bool, ApiError> {
    let application = shared.cluster.application(key).await?;
    let there = application.is_some_and(|one| {
        !one.deleted && (state.application_uid.is_empty() || one.uid == state.application_uid)
    });
    if there {
        tracing::warn!(%key, "the API server's list was older than its database");
    }
    Ok(there)
}

async fn act(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    application: &WantedApplication,
    state: Option<Arc<StateObject>>,
) -> Result<Ended, Stop> {
    let key = &application.key;
    let role = role(shared, &mut memory.revisions, application, state.as_deref()).await?;
    if matches!(role, NodeRole::Leave) {
        shared.memories.leave(key);
        let Some(state) = state else { return Ok(Ended::Done) };
        return remove(shared, memory, &state, RemovalReason::NotSelected, application.spec.as_ref().ok())
            .await;
    }
    let state = claim(shared, application, state).await?;
    let name = state.name.as_str();
    match role {
        NodeRole::Leave => Ok(Ended::Done),
        NodeRole::Unclear(why) => {
            let about = about(shared, application, None, None);
            // The revision of the preflight may differ from the one that cannot be read.
            let answer = preflight::answer(shared, &mut memory.revisions, application, &state).await?;
            let writes = &mut memory.state(&state.uid).writes;
            let written = write_status(shared, writes, key, name, |before| {
                let mut new = status(&ReconcileOutcome::Refused(&why), &about, before);
                preflight::put(&mut new, &answer);
                new
            })
            .await?;
            Ok(Ended::Failed(why.reason).after(written))
        }
        NodeRole::Wait(why) => {
            if let Some((spec, version)) = last_acted(shared, &mut memory.revisions, key, &state).await? {
                return run(shared, memory, application, &state, &spec, &version).await;
            }
            let spec = application.spec.as_ref().ok();
            let composition = match spec {
                Some(spec) => composition::here(shared, spec, &state).await?,
                None => None,
            };
            let about = about(shared, application, None, composition);
            let answer = preflight::answer(shared, &mut memory.revisions, application, &state).await?;
            let writes = &mut memory.state(&state.uid).writes;
            let written = write_status(shared, writes, key, name, |before| {
                let mut new = waiting(why, &about, before);
                new.node.details.kernel = about.kernel.clone();
                new.node.details.boot_id = about.boot_id.clone();
                preflight::put(&mut new, &answer);
                new
            })
            .await?;
            Ok(answer.then(Ended::Done).after(written))
        }
        NodeRole::Act(spec, version) => {
            shared.memories.set_in_force(key, Arc::clone(&spec), &version);
            run(shared, memory, application, &state, &spec, &version).await
        }
    }
}

/// Returns the spec applied before the wait: remembered, or read by the revision that the state names.
pub async fn last_acted(
    shared: &Shared,
    revisions: &mut ReadRevisions,
    key: &ApplicationKey,
    state: &StateObject,
) -> Result<Option<(Arc<ApplicationSpec>, String)>, ApiError> {
    let remembered = shared.memories.in_force(key);
    if remembered.is_some() {
        return Ok(remembered);
    }
    let observed = state.status.as_ref().and_then(|status| status.node.details.observed_revision.clone());
    // A number is a generation from before the rollout; its spec is stored nowhere.
    let Some(name) = observed.filter(|name| name.parse::<i64>().is_err()) else { return Ok(None) };
    match revisions.get(&shared.cluster, key, &shared.namespace, &name).await {
        Ok(spec) => Ok(Some((spec, name))),
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Returns a pending status: the programs still run, but cannot be repaired. After a reboot, they count as not loaded.
fn waiting(why: &str, about: &StatusContext, before: Option<&Status>) -> Status {
    let ran = before.and_then(|before| before.node.details.observed_revision.clone());
    let Some(ran) = ran else { return status(&ReconcileOutcome::Pending(why), about, before) };
    let long = format!("{why}; of version {ran} the spec is not known any more: programs stay as they are");
    let about = StatusContext { revision: Some(ran), ..about.clone() };
    let mut new = status(&ReconcileOutcome::Pending(&long), &about, before);
    let booted = before.is_some_and(|before| {
        let last = &before.node.details.boot_id;
        last.is_some() && about.boot_id.is_some() && *last != about.boot_id
    });
    if booted {
        new.node.app_load_status = AppLoadStatus::NotLoaded;
        new.programs = Vec::new();
    }
    new
}

async fn claim(
    shared: &Shared,
    application: &WantedApplication,
    state: Option<Arc<StateObject>>,
) -> Result<Arc<StateObject>, Stop> {
    let state = match state {
        Some(state) if state.has_finalizer() => return Ok(state),
        Some(state) => {
            let mut finalizers = state.finalizers.clone();
            finalizers.push(application.key.scope.finalizer().to_owned());
            shared.cluster.write_finalizers(&state, &finalizers).await?
        }
        None => shared.cluster.make_state(application).await?,
    };
    shared.learned(state.clone());
    Ok(Arc::new(state))
}

async fn run(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    application: &WantedApplication,
    state: &StateObject,
    spec: &ApplicationSpec,
    version: &str,
) -> Result<Ended, Stop> {
    let (key, name) = (&application.key, state.name.as_str());
    let mut about = about(shared, application, Some(version), None);
    let applied = {
        let StateMemory { load, writes, .. } = memory.state(&state.uid);
        let mut applying = std::pin::pin!(apply(shared, load, state, spec, version));
        match tokio::time::timeout(PENDING_AFTER, &mut applying).await {
            Ok(applied) => applied?,
            Err(_) => {
                if state.status.is_none() {
                    let pending = ReconcileOutcome::Pending("the programs are being loaded");
                    let _written =
                        write_status(shared, writes, key, name, |before| status(&pending, &about, before))
                            .await;
                }
                applying.await?
            }
        }
    };
    let rollout = application.spec.as_ref().is_ok_and(|spec| spec.common.rollout.is_some());
    let mut answer = PreflightReply::None;
    let mut health = soak::SoakHealth::default();
    if rollout || state.orders.preflight.is_some() {
        about.composition = composition::here(shared, spec, state).await?;
        answer = preflight::answer(shared, &mut memory.revisions, application, state).await?;
    }
    if let AppliedSpec::Report(report) = &applied {
        let memory = memory.state(&state.uid);
        health = soak::watch_gates(shared, memory, application, state, version, report).await?;
    }
    let memory = memory.state(&state.uid);
    let written = write_status(shared, &mut memory.writes, key, name, |before| {
        let outcome = match &applied {
            AppliedSpec::Report(report) => ReconcileOutcome::Reported(report, spec),
            AppliedSpec::Refused(failure) => ReconcileOutcome::Refused(failure),
        };
        let mut new = status(&outcome, &about, before);
        preflight::put(&mut new, &answer);
        health.put(&mut new);
        new
    })
    .await?;
    let ended = match &applied {
        AppliedSpec::Refused(failure) => {
            tracing::warn!(%key, why = failure.message, "not as it should be");
            Ended::Failed(failure.reason.clone())
        }
        AppliedSpec::Report(report) => match failure(report) {
            Some(failure) => {
                tracing::warn!(%key, program = failure.program, why = failure.message, "not as it should be");
                Ended::Failed(failure.reason)
            }
            None if report.load == ReportedLoad::Loaded || report.load == ReportedLoad::NotWanted => {
                let asks = memory
                    .load
                    .registry
                    .wait(shared.daemon_link.now().life, Instant::now())
                    .map(|wait| jittered(wait).max(Duration::from_secs(1)));
                [health.again(), asks].into_iter().flatten().min().map_or(Ended::Done, Ended::Later)
            }
            None => Ended::Failed("unknown".to_owned()),
        },
    };
    Ok(answer.then(ended).after(written))
}

/// Returns a status context; without a generation for an earlier version, which is not the current spec.
fn about(
    shared: &Shared,
    application: &WantedApplication,
    version: Option<&str>,
    composition: Option<String>,
) -> StatusContext {
    let generation = match version {
        Some(version) if version != application.generation.to_string() => 0,
        _ => application.generation,
    };
    StatusContext { composition, ..shared.about(generation, version.map(str::to_owned)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn about(boot: &str) -> StatusContext {
        StatusContext { node: "a".to_owned(), boot_id: Some(boot.to_owned()), ..StatusContext::default() }
    }

    fn ran(boot: &str) -> Status {
        let about = StatusContext { revision: Some("4".to_owned()), ..about(boot) };
        let report = bpfman_apply::report::Report { load: ReportedLoad::Loaded, ..Default::default() };
        let spec = serde_json::json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [] });
        let spec = ApplicationSpec::read(None, spec);
        status(&ReconcileOutcome::Reported(&report, &spec.unwrap()), &about, None)
    }

    #[test]
    fn waiting_for_a_rollout_is_no_success_and_loads_none_at_boot() {
        let before = ran("one");
        assert_eq!(before.node.conditions[0].type_, "Success");
        let same_boot = waiting("waiting", &about("one"), Some(&before));
        assert_eq!(same_boot.node.conditions[0].type_, "Pending");
        assert_eq!(same_boot.node.app_load_status, AppLoadStatus::LoadSuccess);
        assert_eq!(same_boot.node.details.observed_revision.as_deref(), Some("4"));
        let booted = waiting("waiting", &about("two"), Some(&before));
        assert_eq!(booted.node.conditions[0].type_, "Pending");
        assert_eq!(booted.node.app_load_status, AppLoadStatus::NotLoaded);
        assert_eq!(booted.node.details.boot_id.as_deref(), Some("two"));
        let never = waiting("waiting", &about("one"), None);
        assert_eq!((never.node.details.observed_revision, never.programs.len()), (None, 0));
    }
}

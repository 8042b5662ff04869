//! The end of an application on this node: its programs are unloaded, then its state object is let go.

use std::time::Duration;

use bpfman_application::spec::Spec;
use bpfman_application::state::application::AppLoadStatus;
use bpfman_apply::desired::{Desired, Owner};
use bpfman_apply::reconcile::reconcile;
use bpfman_apply::report::LoadOutcome;

use super::Shared;
use super::api::ApiError;
use super::look::{Ended, Stop};
use super::soak;
use super::state::StateObject;
use super::status::{About, Outcome, status};
use super::tell::{latest, tell};

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The application is deleted, or the state object is.
    Deleted,
    /// The node is not selected any more.
    NotSelected,
}

/// Unloads the programs of a state object and lets it go.
///
/// The object stays until its programs are gone: who deletes an application sees in it what holds it up.
pub async fn remove(
    shared: &Shared,
    state: &StateObject,
    why: Why,
    spec: Option<&Spec>,
) -> Result<Ended, Stop> {
    let key = &state.application;
    if !state.held() {
        return let_go(shared, state, why).await;
    }
    soak::end(shared, state).await?;
    let desired = Desired::nothing(owner(state));
    shared.metrics.daemon_calls.add("reconcile", 1);
    let report = reconcile(&shared.daemon, &desired, None).await?;
    for done in &report.done {
        tracing::info!(%key, "{done}");
    }
    let about = about(shared, state);
    let gone = report.load == LoadOutcome::NotWanted;
    // A deletion that is not held up needs no last word but this: its object is about to go.
    let told = tell(shared, key, &state.name, |before| {
        let mut said = match spec {
            Some(spec) => status(&Outcome::Reported(&report, spec), &about, before),
            None => status(&Outcome::Reported(&report, &nothing()), &about, before),
        };
        if gone && why == Why::NotSelected {
            said.node.app_load_status = AppLoadStatus::NotSelected;
        }
        said
    })
    .await;
    match after_the_word(told.map(|_| ()), gone) {
        Ok(true) => {}
        Ok(false) => return Ok(Ended::Done),
        Err(error) => return Err(error.into()),
    }
    if !gone {
        let reason = report.failure.map_or_else(|| "unload".to_owned(), |failure| failure.reason);
        return Ok(Ended::Failed(reason));
    }
    let Some(state) = latest(shared, key, &state.name) else { return Ok(Ended::Done) };
    let_go(shared, &state, why).await
}

/// Whether there is more to do after the last word. A word that is refused must not hold up an object whose programs are
/// gone; if the API server is away, the finalizer cannot be taken off either.
///
/// # Errors
/// The word has to be said again.
fn after_the_word(told: Result<(), ApiError>, gone: bool) -> Result<bool, ApiError> {
    match told {
        Ok(()) => Ok(true),
        Err(ApiError::NotFound) => Ok(false),
        Err(error @ (ApiError::Refused { .. } | ApiError::Conflict(_) | ApiError::Unreadable(_))) if gone => {
            tracing::warn!(%error, "the programs are gone, and the state cannot say so");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// Takes the finalizer away; and the object, where nobody else will.
async fn let_go(shared: &Shared, state: &StateObject, why: Why) -> Result<Ended, Stop> {
    let key = &state.application;
    if state.held() {
        let ours = key.scope.finalizer();
        let others: Vec<_> = state.finalizers.iter().filter(|one| *one != ours).cloned().collect();
        match shared.cluster.write_finalizers(state, &others).await {
            Ok(state) => shared.world.known().put_state(state),
            Err(ApiError::NotFound) => shared.world.known().forget_state(key, &state.name),
            Err(ApiError::Conflict(_)) => {
                let read = shared.cluster.state(key, &state.name).await?;
                shared.world.known().put_state(read);
                return Ok(Ended::Later(Duration::from_millis(100)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // Of a deleted application the garbage collector takes it; one of a node that is not selected would stay.
    if why == Why::NotSelected && !state.deleted {
        match shared.cluster.delete_state(state).await {
            Ok(()) | Err(ApiError::NotFound) => shared.world.known().forget_state(key, &state.name),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ended::Done)
}

/// Whose programs they are, in the daemon.
#[must_use]
pub fn owner(state: &StateObject) -> Owner {
    Owner {
        namespace: state.application.namespace.clone(),
        name: state.application.name.clone(),
        uid: state.uid.clone(),
    }
}

/// What the last status of a state object is about.
fn about(shared: &Shared, state: &StateObject) -> About {
    let now = shared.daemon_link.now();
    let last = state.status.as_ref();
    About {
        node: shared.node.clone(),
        generation: last
            .and_then(|last| last.node.conditions.first())
            .and_then(|condition| condition.observed_generation)
            .unwrap_or_default(),
        revision: last.and_then(|last| last.node.details.observed_revision.clone()),
        kernel: now.kernel,
        boot_id: now.boot_id,
        composition: None,
    }
}

/// The spec of an application that is not known any more.
fn nothing() -> Spec {
    Spec::Cluster(bpfman_application::application::ClusterBpfApplicationSpec {
        common: bpfman_application::application::ApplicationCommon::default(),
        programs: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_word_does_not_hold_up_an_object_whose_programs_are_gone() {
        let refused = || Err(ApiError::Refused { code: 422, message: "too long".to_owned() });
        assert!(matches!(after_the_word(refused(), true), Ok(true)));
        assert!(after_the_word(refused(), false).is_err(), "what holds it up has to be said");
        assert!(matches!(after_the_word(Err(ApiError::NotFound), true), Ok(false)));
        assert!(after_the_word(Err(ApiError::Away("timeout".to_owned())), true).is_err());
    }
}

use std::time::Duration;

use bpfman_application::application::ApplicationCommon;
use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::application::AppLoadStatus;
use bpfman_apply::desired::Desired;
use bpfman_apply::report::ReportedLoad;

use crate::agent::memory::ApplicationMemory;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::state::StateObject;
use crate::agent::rollout::soak;
use crate::agent::shared::Shared;
use crate::agent::shared::ended::{Ended, Stop};
use crate::agent::shared::write_status::{latest, write_status};
use crate::agent::status::{ReconcileOutcome, status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    Deleted,
    NotSelected,
}

/// Removes the programs, and then the object, which shows until then what delays a deletion.
pub async fn remove(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    state: &StateObject,
    why: RemovalReason,
    spec: Option<&ApplicationSpec>,
) -> Result<Ended, Stop> {
    let key = &state.application;
    if !state.has_finalizer() {
        return let_go(shared, state, why).await;
    }
    let memory = memory.state(&state.uid);
    soak::end(shared, memory, state).await?;
    let report = shared.make(&Desired::nothing(state.owner()), None).await?;
    shared.memories.count(key, &report);
    let about = shared.about_last(state.status.as_ref(), None);
    let gone = report.load == ReportedLoad::NotWanted;
    let unknown =
        ApplicationSpec { namespace: None, common: ApplicationCommon::default(), programs: Vec::new() };
    let outcome = ReconcileOutcome::Reported(&report, spec.unwrap_or(&unknown));
    let written = write_status(shared, &mut memory.writes, key, &state.name, |before| {
        let mut new = status(&outcome, &about, before);
        if gone && why == RemovalReason::NotSelected {
            new.node.app_load_status = AppLoadStatus::NotSelected;
        }
        new
    })
    .await;
    match after_the_word(written.map(|_| ()), gone) {
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

/// Returns whether the object still exists. A refused status write is ignored if the programs are gone.
fn after_the_word(written: Result<(), ApiError>, gone: bool) -> Result<bool, ApiError> {
    match written {
        Ok(()) => Ok(true),
        Err(ApiError::NotFound) => Ok(false),
        Err(error @ (ApiError::Refused { .. } | ApiError::Conflict(_) | ApiError::Unreadable(_))) if gone => {
            tracing::warn!(%error, "the programs are gone, and the state cannot say so");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

async fn let_go(shared: &Shared, state: &StateObject, why: RemovalReason) -> Result<Ended, Stop> {
    let key = &state.application;
    if state.has_finalizer() {
        let ours = key.scope.finalizer();
        let others: Vec<_> = state.finalizers.iter().filter(|one| *one != ours).cloned().collect();
        match shared.cluster.write_finalizers(state, &others).await {
            Ok(state) => shared.cache.known().put_state(state),
            Err(ApiError::NotFound) => _ = shared.cache.known().states.remove(&state.key()),
            Err(ApiError::Conflict(_)) => {
                let read = shared.cluster.state(key, &state.name).await?;
                shared.cache.known().put_state(read);
                return Ok(Ended::Later(Duration::from_millis(100)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // The garbage collector deletes the object of a deleted application, but not that of an unselected node.
    if why == RemovalReason::NotSelected && !state.deleted {
        match shared.cluster.delete_state(state).await {
            Ok(()) | Err(ApiError::NotFound) => _ = shared.cache.known().states.remove(&state.key()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Ended::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_report_does_not_block_an_object_without_programs() {
        let refused = || Err(ApiError::Refused { code: 422, message: "too long".to_owned() });
        assert!(matches!(after_the_word(refused(), true), Ok(true)));
        assert!(after_the_word(refused(), false).is_err(), "what holds it up has to be said");
        assert!(matches!(after_the_word(Err(ApiError::NotFound), true), Ok(false)));
        assert!(after_the_word(Err(ApiError::Away("timeout".to_owned())), true).is_err());
    }
}

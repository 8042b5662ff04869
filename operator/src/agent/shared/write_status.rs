//! Writes status of state objects: only changes, limited in size, and at a limited rate if another writer interferes.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::daemon_link::DaemonLinkStatus;
use crate::agent::memory::application::WriteMemory;
use crate::agent::memory::write_pace::SUSPECTED;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::state::{StateObject, Status, own};
use crate::agent::status::notes::{LastEventReport, note};
use crate::agent::status::{StatusContext, same, size};
use bpfman_application::scope::ApplicationKey;

/// Result of a status write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusWritten {
    /// The status was written.
    Written,
    /// The status was written before.
    Same,
    /// The rate limit was reached, or another writer is suspected: write again after this time.
    TooMany(Duration),
}

/// Returns the state object as last seen; `None` if it is gone.
#[must_use]
pub fn latest(shared: &Shared, key: &ApplicationKey, name: &str) -> Option<Arc<StateObject>> {
    shared.cache.known().states.get(&(key.clone(), name.to_owned())).cloned()
}

/// Returns the state object of an application on this node, as last seen.
#[must_use]
pub fn state_of(shared: &Shared, application: &WantedApplication) -> Option<Arc<StateObject>> {
    let states: Vec<_> = shared.cache.known().states_of(&application.key).cloned().collect();
    own(&states, application, &shared.node).cloned()
}

/// Writes the status that `what` computes from the last one, if it differs; tries once more after a conflict.
pub async fn write_status(
    shared: &Shared,
    memory: &mut WriteMemory,
    key: &ApplicationKey,
    name: &str,
    what: impl Fn(Option<&Status>) -> Status,
) -> Result<StatusWritten, ApiError> {
    for last in [false, true] {
        let Some(state) = latest(shared, key, name) else { return Err(ApiError::NotFound) };
        let before = state.status.as_ref();
        let mut status = what(before);
        let now = Instant::now();
        let contested = memory.pace.suspects(shared.memories.other_writer(key, &state.uid), now);
        if contested {
            suspect(&mut status);
        }
        shorten(&mut status);
        tell(shared, memory, &state, &status, now);
        let kept = |there: &Status| same(there, &status) || memory.last.is_kept(&status, there, now);
        if before.is_some_and(kept) {
            return Ok(if contested { StatusWritten::TooMany(SUSPECTED) } else { StatusWritten::Same });
        }
        if let Err(wait) = memory.pace.take(now) {
            tracing::warn!(%key, "its state is written too often{}", if contested { OTHER_WRITER } else { "" });
            return Ok(StatusWritten::TooMany(wait));
        }
        match shared.cluster.write_status(&state, status.clone()).await {
            Ok(written) => {
                if memory.last.wrote(&status, written.status.as_ref(), now) {
                    tracing::warn!(
                        %key,
                        "the API server does not keep all fields of this node: are its custom resource \
                         definitions older than this agent? `bpfman-operator crds` prints those of this version"
                    );
                }
                shared.learned(written);
                // Write again later, to remove the added warning when it no longer applies.
                return Ok(if contested {
                    StatusWritten::TooMany(SUSPECTED)
                } else {
                    StatusWritten::Written
                });
            }
            Err(ApiError::Conflict(why)) if last => return Err(ApiError::Conflict(why)),
            Err(ApiError::Conflict(_)) => {
                let read = shared.cluster.state(key, name).await?;
                shared.learned(read);
            }
            Err(ApiError::NotFound) => {
                shared.cache.known().states.remove(&state.key());
                return Err(ApiError::NotFound);
            }
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::Conflict("twice in a row".to_owned()))
}

fn tell(shared: &Shared, memory: &mut WriteMemory, state: &StateObject, status: &Status, now: Instant) {
    let told = memory.told.get_or_insert_with(|| LastEventReport::with(state.status.as_ref()));
    let Some((note, will_know)) = note(told, status) else { return };
    let mut limiter = shared.limiter.lock().unwrap_or_else(PoisonError::into_inner);
    match limiter.admit(now, &state.uid, &note) {
        Ok(()) => *told = will_know,
        Err(wait) => return shared.queue.add_after(&state.application, wait),
    }
    drop(limiter);
    let (events, about) = (shared.events.clone(), state.reference());
    tokio::spawn(async move { events.write_event(&about, note).await });
}

const OTHER_WRITER: &str =
    "; somebody else writes this object too: does another machine have this node's name?";

fn suspect(status: &mut Status) {
    for condition in &mut status.node.conditions {
        condition.message += OTHER_WRITER;
    }
}

fn shorten(status: &mut Status) {
    let Some((left_out, all)) = size::fit(status, size::MAX_STATUS) else { return };
    for condition in &mut status.node.conditions {
        let text = format!(
            "{}; {left_out} of {all} attachments are not listed here, since the object would be too large",
            condition.message
        );
        condition.message = text;
    }
}

impl Shared {
    /// Returns the context of a status for a generation and a version.
    #[must_use]
    pub fn about(&self, generation: i64, revision: Option<String>) -> StatusContext {
        let DaemonLinkStatus { kernel, boot_id, .. } = self.daemon_link.now();
        StatusContext { node: self.node.clone(), generation, revision, kernel, boot_id, composition: None }
    }

    /// Returns the context of a status that repeats the last one; `generation` overrides the last generation.
    #[must_use]
    pub fn about_last(&self, last: Option<&Status>, generation: Option<i64>) -> StatusContext {
        let last = last.map(|last| &last.node);
        let written = || last?.conditions.first()?.observed_generation;
        let revision = last.and_then(|last| last.details.observed_revision.clone());
        self.about(generation.or_else(written).unwrap_or_default(), revision)
    }
}

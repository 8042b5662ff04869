use std::time::Duration;

use bpfman_application::state::node::NodeFailure;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::node_reason::NodeReason;

use crate::agent::memory::ApplicationMemory;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;
use crate::agent::shared::daemon_link::REPORTED_AFTER;
use crate::agent::shared::ended::Ended;
use crate::agent::shared::write_status::{StatusWritten, write_status};
use crate::agent::status::{ReconcileOutcome, status};
use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::backoff::jittered;

const SEE_LOG: &str = "see the log of the daemon on this node";

async fn unknown(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    key: &ApplicationKey,
    state: &StateObject,
    why: &NodeFailure,
) -> Result<StatusWritten, ApiError> {
    // No spec could be applied, so the status applies to the newest generation as well.
    let newest = shared.cache.known().applications.get(key).map(|application| application.generation);
    let writes = &mut memory.state(&state.uid).writes;
    write_status(shared, writes, key, &state.name, |before| {
        status(&ReconcileOutcome::Unknown(why), &shared.about_last(before, newest), before)
    })
    .await
}

async fn all_unknown(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    key: &ApplicationKey,
    why: &NodeFailure,
) -> Ended {
    let states: Vec<_> = shared.cache.known().states_of(key).cloned().collect();
    let mut ended = Ended::Done;
    for state in &states {
        if let Err(error) = unknown(shared, memory, key, state, why).await {
            tracing::warn!(%key, %error, "the API server");
            ended = Ended::Waiting(error.reason().to_owned());
        }
    }
    ended
}

pub async fn node_is_gone(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    application: &WantedApplication,
    state: Option<&StateObject>,
) -> Result<Ended, ApiError> {
    let Some(state) = state else { return Ok(Ended::Done) };
    let why = NodeReason::NodeGone.failure(
        &format!("there is no Node {}: its programs stay as they are", shared.node),
        "is the node renamed, or its object deleted? delete this object to have them unloaded",
    );
    let written = unknown(shared, memory, &application.key, state, &why).await?;
    Ok(Ended::Done.after(written))
}

const PASSING: u32 = 3;

async fn broken_off(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    key: &ApplicationKey,
    away: &Unreachable,
) -> Ended {
    let message = format!("bpfmand at {} breaks a call off without an answer: {}", away.daemon, away.why);
    let why = NodeReason::DaemonBrokeOff.failure(&message, SEE_LOG);
    tracing::warn!(%key, why = why.message, "not as it should be");
    let _written = all_unknown(shared, memory, key, &why).await;
    Ended::Failed(why.reason)
}

fn is_passing(memory: &mut ApplicationMemory) -> bool {
    memory.broken_off = memory.broken_off.saturating_add(1);
    memory.broken_off <= PASSING
}

pub async fn daemon_away(
    shared: &Shared,
    memory: &mut ApplicationMemory,
    key: &ApplicationKey,
    away: &Unreachable,
) -> Ended {
    let now = shared.daemon_link.now();
    if now.up {
        if is_passing(memory) {
            return Ended::Later(jittered(Duration::from_millis(500)));
        }
        return broken_off(shared, memory, key, away).await;
    }
    let waited = now.since.elapsed();
    if waited < REPORTED_AFTER {
        return Ended::Later(jittered(REPORTED_AFTER - waited + Duration::from_secs(1)));
    }
    // The message omits the error, which changes with each attempt.
    let message =
        format!("bpfmand at {} does not answer; programs go on, and nothing can be changed", away.daemon);
    let why = NodeReason::DaemonAway.failure(&message, SEE_LOG);
    all_unknown(shared, memory, key, &why).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_break_off_again_and_again_are_no_restart() {
        let (mut one, mut other) = (ApplicationMemory::default(), ApplicationMemory::default());
        let passing = (0..10).filter(|_| is_passing(&mut one)).count();
        assert_eq!(passing, 3);
        assert!(is_passing(&mut other), "others are not concerned");
        one.broken_off = 0;
        assert!(is_passing(&mut one));
    }
}

//! What is said while the daemon, or the object of this node, is away: programs are left as they are.

use std::time::Duration;

use bpfman_application::state::node::Failure;
use bpfman_apply::failure::Unreachable;

use super::Shared;
use super::api::ApiError;
use super::application::Application;
use super::backoff::jittered;
use super::daemon::SAID_AFTER;
use super::key::ApplicationKey;
use super::look::Ended;
use super::state::{StateObject, Status};
use super::status::{About, Outcome, status};
use super::tell::{Told, tell};

/// Says that nothing can be known, for programs that are as they were.
async fn unknown(shared: &Shared, key: &ApplicationKey, name: &str, why: &Failure) -> Result<Told, ApiError> {
    let now = shared.daemon_link.now();
    tell(shared, key, name, |before| {
        let last = before.map(|before: &Status| &before.node);
        let about = About {
            node: shared.node.clone(),
            generation: last
                .and_then(|last| last.conditions.first())
                .and_then(|condition| condition.observed_generation)
                .unwrap_or_default(),
            revision: last.and_then(|last| last.details.observed_revision.clone()),
            kernel: now.kernel.clone(),
            boot_id: now.boot_id.clone(),
            composition: None,
        };
        status(&Outcome::Unknown(why), &about, before)
    })
    .await
}

/// There is no object of this node: programs stay, and their state objects say why nothing changes.
///
/// # Errors
/// [`ApiError`].
pub async fn node_is_gone(
    shared: &Shared,
    application: &Application,
    state: Option<&StateObject>,
) -> Result<Ended, ApiError> {
    let Some(state) = state else { return Ok(Ended::Done) };
    let why = Failure {
        reason: "node-gone".to_owned(),
        program: String::new(),
        message: format!("there is no Node {}: its programs stay as they are", shared.node),
        hint: "is the node renamed, or its object deleted? delete this object to have them unloaded"
            .to_owned(),
    };
    let told = unknown(shared, &application.key, &state.name, &why).await?;
    Ok(Ended::Done.after(told))
}

/// The daemon is away: programs go on. After some seconds the state objects say so, once.
pub async fn daemon_away(shared: &Shared, key: &ApplicationKey, away: &Unreachable) -> Ended {
    let now = shared.daemon_link.now();
    if now.up {
        // The stream has not noticed yet, or it is back already.
        return Ended::Later(jittered(Duration::from_millis(500)));
    }
    let waited = now.since.elapsed();
    if waited < SAID_AFTER {
        return Ended::Later(jittered(SAID_AFTER - waited + Duration::from_secs(1)));
    }
    let why = Failure {
        reason: "daemon-away".to_owned(),
        program: String::new(),
        // Not why: that changes from one try to the next.
        message: format!(
            "bpfmand at {} does not answer; programs go on, and nothing can be changed",
            away.daemon
        ),
        hint: "see the log of the daemon on this node".to_owned(),
    };
    let states = shared.world.known().states.get(key).cloned().unwrap_or_default();
    for state in states.values() {
        if let Err(error) = unknown(shared, key, &state.name, &why).await {
            tracing::warn!(%key, %error, "the API server");
            return Ended::Waiting(error.reason().to_owned());
        }
    }
    // All are looked at when it is back.
    Ended::Done
}

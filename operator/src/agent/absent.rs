//! What is said while the daemon, or the object of this node, is away: programs are left as they are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bpfman_application::state::node::Failure;
use bpfman_apply::failure::Unreachable;

use super::Shared;
use super::api::ApiError;
use super::application::Application;
use super::daemon::SAID_AFTER;
use super::look::Ended;
use super::state::{StateObject, Status};
use super::status::{About, Outcome, status};
use super::tell::{Told, tell};
use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::backoff::jittered;

/// Says that nothing can be known, for programs that are as they were.
async fn unknown(shared: &Shared, key: &ApplicationKey, name: &str, why: &Failure) -> Result<Told, ApiError> {
    let now = shared.daemon_link.now();
    // Whatever is wanted today, it could not be done: this is about the newest spec as well.
    let newest = shared.world.known().applications.get(key).map(|application| application.generation);
    tell(shared, key, name, |before| {
        let last = before.map(|before: &Status| &before.node);
        let about = About {
            node: shared.node.clone(),
            generation: newest.or_else(|| last?.conditions.first()?.observed_generation).unwrap_or_default(),
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

/// So many broken calls in a row may come of a daemon that restarts.
const PASSING: u32 = 3;

/// Looks that broke off in a row while the daemon was there, by application.
#[derive(Debug, Default)]
pub struct BrokenOff(Mutex<HashMap<ApplicationKey, u32>>);

impl BrokenOff {
    /// One more; how many that makes.
    pub fn again(&self, key: &ApplicationKey) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// A look went well.
    pub fn well(&self, key: &ApplicationKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The daemon is there, and yet a call of this application breaks off each time: that is a failure as any other.
async fn broken_off(shared: &Shared, key: &ApplicationKey, away: &Unreachable) -> Ended {
    let why = Failure {
        reason: "daemon-broke-off".to_owned(),
        program: String::new(),
        message: format!("bpfmand at {} breaks a call off without an answer: {}", away.daemon, away.why),
        hint: "see the log of the daemon on this node".to_owned(),
    };
    tracing::warn!(%key, why = why.message, "not as it should be");
    let states = shared.world.known().states.get(key).cloned().unwrap_or_default();
    for state in states.values() {
        if let Err(error) = unknown(shared, key, &state.name, &why).await {
            tracing::warn!(%key, %error, "the API server");
        }
    }
    Ended::Failed(why.reason)
}

/// The daemon is away: programs go on. After some seconds the state objects say so, once.
pub async fn daemon_away(shared: &Shared, key: &ApplicationKey, away: &Unreachable) -> Ended {
    let now = shared.daemon_link.now();
    if now.up {
        if shared.broken_off.again(key) <= PASSING {
            // The stream has not noticed yet, or it is back already.
            return Ended::Later(jittered(Duration::from_millis(500)));
        }
        return broken_off(shared, key, away).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use bpfman_application::scope::Scope;

    #[test]
    fn calls_that_break_off_again_and_again_are_no_restart() {
        let key =
            |name: &str| ApplicationKey { scope: Scope::Cluster, namespace: None, name: name.to_owned() };
        let broken = BrokenOff::default();
        let passing = (0..10).filter(|_| broken.again(&key("a")) <= PASSING).count();
        assert_eq!(passing, 3);
        assert!(broken.again(&key("b")) <= PASSING, "others are not concerned");
        broken.well(&key("a"));
        assert!(broken.again(&key("a")) <= PASSING);
    }
}

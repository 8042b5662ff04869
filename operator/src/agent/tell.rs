//! Writing state objects: only what is another, never too large, never in a circle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::api::ApiError;
use super::application::Application;
use super::key::ApplicationKey;
use super::state::{StateObject, Status, own};
use super::status::{same, size};

/// How many writes of one state object may come at once.
const BURST: f64 = 20.0;

/// Seconds after which one more may come.
const REFILL_SECONDS: f64 = 10.0;

/// How a word to the API server came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was written.
    Written,
    /// It was said already.
    Same,
    /// There were too many writes: to be said again after this time.
    TooMany(Duration),
}

/// Keeps two who contradict each other, for example two machines of one name, from writing without end.
#[derive(Debug, Default)]
pub struct Pace(Mutex<HashMap<String, (f64, Instant)>>);

impl Pace {
    /// Whether one more write of this object may be made now; if not, after which time.
    fn take(&self, uid: &str, now: Instant) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > 4096 {
            all.clear();
        }
        let (left, last) = all.entry(uid.to_owned()).or_insert((BURST, now));
        let refilled = now.saturating_duration_since(*last).as_secs_f64() / REFILL_SECONDS;
        *left = (*left + refilled).min(BURST);
        *last = now;
        if *left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - *left) * REFILL_SECONDS));
        }
        *left -= 1.0;
        Ok(())
    }
}

/// The state object as it was last seen; `None` if it is gone.
#[must_use]
pub fn latest(shared: &Shared, key: &ApplicationKey, name: &str) -> Option<Arc<StateObject>> {
    shared.world.known().states.get(key).and_then(|states| states.get(name)).cloned()
}

/// The state object of an application on this node, as it was last seen.
#[must_use]
pub fn state_of(shared: &Shared, application: &Application) -> Option<Arc<StateObject>> {
    let states: Vec<_> = shared.world.known().states.get(&application.key)?.values().cloned().collect();
    own(&states, application, &shared.node).cloned()
}

/// Says something in the status of a state object, unless it is said already. `what` makes it from what was last said.
///
/// # Errors
/// [`ApiError`]. When somebody else wrote meanwhile, what they wrote is read, and it is tried once more.
pub async fn tell(
    shared: &Shared,
    key: &ApplicationKey,
    name: &str,
    what: impl Fn(Option<&Status>) -> Status,
) -> Result<Told, ApiError> {
    for last in [false, true] {
        let Some(state) = latest(shared, key, name) else { return Err(ApiError::NotFound) };
        let before = state.status.as_ref();
        let mut status = what(before);
        shorten(&mut status);
        let now = Instant::now();
        let kept =
            |there: &Status| same(there, &status) || shared.said.is_kept(&state.uid, &status, there, now);
        if before.is_some_and(kept) {
            return Ok(Told::Same);
        }
        if let Err(wait) = shared.pace.take(&state.uid, Instant::now()) {
            tracing::warn!(%key, "its state is written too often; does another machine have this node's name?");
            return Ok(Told::TooMany(wait));
        }
        match shared.cluster.write_status(&state, status.clone()).await {
            Ok(written) => {
                if shared.said.wrote(&state.uid, &status, written.status.as_ref(), now) {
                    tracing::warn!(
                        %key,
                        "the API server does not keep all that is said of this node: are its custom resource \
                         definitions older than this agent? `bpfman-operator crds` prints those of this version"
                    );
                }
                shared.learned(written);
                return Ok(Told::Written);
            }
            Err(ApiError::Conflict(why)) if last => return Err(ApiError::Conflict(why)),
            Err(ApiError::Conflict(_)) => {
                let read = shared.cluster.state(key, name).await?;
                shared.learned(read);
            }
            Err(ApiError::NotFound) => {
                shared.world.known().forget_state(key, name);
                return Err(ApiError::NotFound);
            }
            Err(error) => return Err(error),
        }
    }
    Err(ApiError::Conflict("twice in a row".to_owned()))
}

/// Makes a status fit, and says in its message what is left out.
fn shorten(status: &mut Status) {
    let Some((left_out, all)) = size::fit(status, size::LARGEST) else { return };
    for condition in &mut status.node.conditions {
        let text = format!(
            "{}; {left_out} of {all} attachments are not listed here, since the object would be too large",
            condition.message
        );
        condition.message = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writes_of_one_object_are_spread_and_others_are_free() {
        let (pace, now) = (Pace::default(), Instant::now());
        let free = (0..100).take_while(|_| pace.take("a", now).is_ok()).count();
        assert_eq!(free, 20);
        let wait = pace.take("a", now).unwrap_err();
        assert!(wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(pace.take("b", now), Ok(()));
        assert_eq!(pace.take("a", now + wait), Ok(()));
        assert!(pace.take("a", now + wait).is_err());
    }
}

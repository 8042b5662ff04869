//! What the API server keeps of what this agent says.
//!
//! Definitions that are older than the agent know fewer fields, and the API server drops the others. What it answers then
//! differs from what was said for ever: without a memory of that the agent would say it again and again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::state::Status;
use super::status::same;

/// After this time it is said once more, if there is a look: the definitions may be newer by then.
const AGAIN: Duration = Duration::from_secs(600);

/// What was said last and what of it was kept, by uid of the state object; only where they differ.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashMap<String, Last>>);

#[derive(Debug)]
struct Last {
    said: Status,
    kept: Status,
    at: Instant,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A status was written. True if it was not kept as a whole, for the first time of this object.
    pub fn wrote(&self, uid: &str, said: &Status, kept: Option<&Status>, at: Instant) -> bool {
        let mut all = self.lock();
        match kept.filter(|kept| !same(said, kept)) {
            Some(kept) => {
                if all.len() >= 4096 {
                    all.clear();
                }
                all.insert(uid.to_owned(), Last { said: said.clone(), kept: kept.clone(), at }).is_none()
            }
            None => {
                all.remove(uid);
                false
            }
        }
    }

    /// Whether what there is came of saying just this.
    #[must_use]
    pub fn is_kept(&self, uid: &str, status: &Status, there: &Status, now: Instant) -> bool {
        self.lock().get(uid).is_some_and(|last| {
            let old = now.saturating_duration_since(last.at) >= AGAIN;
            !old && same(&last.said, status) && same(&last.kept, there)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::status::{About, Outcome};

    fn status(kernel: Option<&str>, count: i64) -> Status {
        let about = About { kernel: kernel.map(str::to_owned), ..About::default() };
        let mut said = crate::agent::status::status(&Outcome::Pending("it begins"), &about, None);
        said.node.update_count = count;
        said
    }

    #[test]
    fn what_the_server_dropped_is_not_said_again() {
        let (said, now) = (Said::default(), Instant::now());
        let wrote = |status: Status, kept: Status| said.wrote("a", &status, Some(&kept), now);
        let is_kept = |uid: &str, status: Status, there: Status| said.is_kept(uid, &status, &there, now);
        assert!(wrote(status(Some("6.1"), 1), status(None, 1)));
        assert!(is_kept("a", status(Some("6.1"), 0), status(None, 7)));
        assert!(!is_kept("a", status(Some("6.12"), 0), status(None, 1)), "something else is to be said");
        assert!(!is_kept("a", status(Some("6.1"), 0), status(Some("5.4"), 1)), "somebody wrote it");
        assert!(!is_kept("b", status(Some("6.1"), 0), status(None, 1)));
        assert!(!said.is_kept("a", &status(Some("6.1"), 0), &status(None, 1), now + AGAIN));
        assert!(!wrote(status(Some("6.12"), 2), status(None, 2)), "it is known already");
        assert!(!wrote(status(Some("6.12"), 3), status(Some("6.12"), 3)));
        assert!(!is_kept("a", status(Some("6.12"), 3), status(None, 2)));
    }
}

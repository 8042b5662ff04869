//! How often which call was not done, and why: for metrics, and for who looks at the daemon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Pairs that are kept: calls times reasons are fewer.
const MOST: usize = 1024;

/// How often a call was not done for one reason, since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The call.
    pub verb: String,
    /// The kind of failure: `denied`, `not-found`, …
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<(String, String), u64>>);

impl Refusals {
    /// Counts one more.
    pub fn add(&self, verb: &str, reason: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (verb.to_owned(), reason.to_owned());
        if counts.len() < MOST || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

    /// All of them, by call and reason.
    pub fn all(&self) -> Vec<RefusalCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |((verb, reason), count): (&(String, String), &u64)| RefusalCount {
            verb: verb.clone(),
            reason: reason.clone(),
            count: *count,
        };
        counts.iter().map(count).collect()
    }
}

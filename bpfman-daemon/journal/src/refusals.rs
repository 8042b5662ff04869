//! Counts of refused and failed calls by reason, for metrics and status.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Maximum number of counters, more than there are combinations of calls and reasons.
const MAX_COUNTERS: usize = 1024;

/// Number of calls that were not done for one reason, since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    pub verb: String,
    /// Kind of failure: `denied`, `not-found`, …
    pub reason: String,
    pub count: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<(String, String), u64>>);

impl Refusals {
    pub fn add(&self, verb: &str, reason: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (verb.to_owned(), reason.to_owned());
        if counts.len() < MAX_COUNTERS || counts.contains_key(&key) {
            *counts.entry(key).or_default() += 1;
        }
    }

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

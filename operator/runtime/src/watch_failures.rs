//! Current failures of watches, for readiness probes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Last failure of each watch that currently fails, by its source.
#[derive(Debug)]
pub struct WatchFailures<K>(Mutex<BTreeMap<K, String>>);

impl<K> Default for WatchFailures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Ord> WatchFailures<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a failure of a watch.
    pub fn note(&self, source: K, why: String) {
        self.lock().insert(source, why);
    }

    /// Removes the failure of a watch that works again.
    pub fn over(&self, source: &K) {
        self.lock().remove(source);
    }

    /// Returns all current failures.
    #[must_use]
    pub fn all(&self) -> BTreeMap<K, String> {
        self.lock().clone()
    }
}

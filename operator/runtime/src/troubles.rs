//! Why watches fail now: for probes of whether a process is ready.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last failure of each watch that fails, by what is watched.
#[derive(Debug)]
pub struct Troubles<K>(Mutex<BTreeMap<K, String>>);

impl<K> Default for Troubles<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Ord> Troubles<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch failed.
    pub fn note(&self, source: K, why: String) {
        self.lock().insert(source, why);
    }

    /// A watch goes on.
    pub fn over(&self, source: &K) {
        self.lock().remove(source);
    }

    /// Why each watch fails that does.
    #[must_use]
    pub fn all(&self) -> BTreeMap<K, String> {
        self.lock().clone()
    }
}

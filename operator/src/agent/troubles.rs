//! Why watches fail now: for who asks whether this agent is ready.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::world::Source;

/// The last failure of each watch that fails.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<Source, String>>);

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch failed.
    pub fn note(&self, source: Source, why: String) {
        self.lock().insert(source, why);
    }

    /// A list is complete.
    pub fn over(&self, source: Source) {
        self.lock().remove(&source);
    }

    /// Why a watch fails.
    #[must_use]
    pub fn of(&self, source: Source) -> Option<String> {
        self.lock().get(&source).cloned()
    }
}

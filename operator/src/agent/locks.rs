//! One at a time for each application: looks, and pods that wait for theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_application::scope::ApplicationKey;

/// A lock for each application.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashMap<ApplicationKey, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// The lock of an application.
    #[must_use]
    pub fn of(&self, key: &ApplicationKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds are made again when they are needed.
        all.retain(|other, lock| other == key || Arc::strong_count(lock) > 1);
        Arc::clone(all.entry(key.clone()).or_default())
    }
}

//! Listeners for written entries.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Callback that gets the number of the newest entry, after it was written or the write failed. It must return at once.
pub type WrittenListener = dyn Fn(u64) + Send + Sync;

#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<WrittenListener>>>);

impl Listeners {
    /// Adds a listener, which is called until its last other reference is dropped.
    pub fn add(&self, listener: &Arc<WrittenListener>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    pub fn tell(&self, last: u64) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.upgrade().inspect(|tell| tell(last)).is_some());
    }
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners").finish_non_exhaustive()
    }
}

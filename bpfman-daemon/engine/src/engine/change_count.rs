//! A count of changes of the records, for those who wait for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Is called after a change; it must return at once.
pub type ChangeListener = dyn Fn() + Send + Sync;

/// Counts, and wakes those who wait.
#[derive(Default)]
pub struct ChangeCount {
    count: Mutex<u64>,
    changed: Condvar,
    listeners: Mutex<Vec<Weak<ChangeListener>>>,
}

impl ChangeCount {
    /// Something was changed.
    pub fn tell(&self) {
        *self.guard() += 1;
        self.changed.notify_all();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.upgrade().inspect(|tell| tell()).is_some());
    }

    /// From now on this one is called after each change, as long as somebody else holds it.
    pub fn add_listener(&self, listener: &Arc<ChangeListener>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Waits until the count is another than `seen`, at most so long. Answers the count.
    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let waited = self.changed.wait_timeout_while(self.guard(), timeout, |count| *count == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A number is whole whatever panics.
    fn guard(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

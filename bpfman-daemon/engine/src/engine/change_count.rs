//! Counter of changes of the records, for threads that wait for changes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Callback after a change. It must return at once.
pub type ChangeListener = dyn Fn() + Send + Sync;

#[derive(Default)]
pub struct ChangeCount {
    count: Mutex<u64>,
    changed: Condvar,
    listeners: Mutex<Vec<Weak<ChangeListener>>>,
}

impl ChangeCount {
    pub fn tell(&self) {
        *self.guard() += 1;
        self.changed.notify_all();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.upgrade().inspect(|tell| tell()).is_some());
    }

    /// Adds a listener that is called until its last strong reference is dropped.
    pub fn add_listener(&self, listener: &Arc<ChangeListener>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    pub fn wait(&self, seen: u64, timeout: Duration) -> u64 {
        let waited = self.changed.wait_timeout_while(self.guard(), timeout, |count| *count == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ignores poisoning: a panic cannot leave a number half changed.
    fn guard(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A count of changes of the records, for those who wait for them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts, and wakes those who wait.
#[derive(Debug, Default)]
pub struct Changes {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Changes {
    /// Something was changed.
    pub fn tell(&self) {
        *self.guard() += 1;
        self.changed.notify_all();
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

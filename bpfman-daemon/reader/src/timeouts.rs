use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Default time for all questions to a reader: the largest objects and programs take a second or two each.
const USUAL: Duration = Duration::from_secs(30);

/// Time limits while the daemon starts, which delays the programs of all users.
#[derive(Clone, Copy, Debug)]
pub struct StartPatience {
    /// Time for all questions about one object, independent of others.
    pub each: Duration,
    /// Time for all questions about all repeated reads, whatever their results. One object gets half of the remaining
    /// time, so that the first one does not use it up.
    pub again: Duration,
}

impl Default for StartPatience {
    fn default() -> Self {
        Self { each: Duration::from_secs(3), again: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
pub(crate) struct ReaderTimeouts {
    usual: Duration,
    /// `None` once the daemon has started.
    start: Mutex<Option<StartPatience>>,
}

impl Default for ReaderTimeouts {
    fn default() -> Self {
        Self::new(USUAL, None)
    }
}

impl ReaderTimeouts {
    pub(crate) fn new(usual: Duration, start: Option<StartPatience>) -> Self {
        Self { usual, start: Mutex::new(start) }
    }

    pub(crate) fn usual(&self) -> Duration {
        self.usual
    }

    pub(crate) fn mark_started(&self) {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the time for all questions about one object.
    pub(crate) fn of_one(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| start.each.min(self.usual))
    }

    /// Returns the time for an object that is read again.
    pub(crate) fn of_one_again(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| (start.again / 2).min(self.usual))
    }

    /// Charges the duration of a question about an object that is read again.
    pub(crate) fn charge(&self, took: Duration) {
        if let Some(start) = self.start.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            start.again = start.again.saturating_sub(took);
        }
    }
}

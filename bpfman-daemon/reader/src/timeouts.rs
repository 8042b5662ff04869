use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Usual timeout of a load's questions: the largest objects and programs take a second or two each.
const USUAL: Duration = Duration::from_secs(30);

/// Time limits while the daemon starts, which delays the programs of all users.
#[derive(Clone, Copy, Debug)]
pub struct StartPatience {
    /// Time for all questions about one object, independent of others.
    pub each: Duration,
    /// Time for all repeated reads together; one object gets half of the rest.
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

    pub(crate) fn of_one(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| start.each.min(self.usual))
    }

    pub(crate) fn of_one_again(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| (start.again / 2).min(self.usual))
    }

    pub(crate) fn charge(&self, took: Duration) {
        if let Some(start) = self.start.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            start.again = start.again.saturating_sub(took);
        }
    }
}

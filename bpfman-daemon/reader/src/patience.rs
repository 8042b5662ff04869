//! How long readers may take.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long all questions to one reader may take: the largest objects and programs take a second or two each.
const USUAL: Duration = Duration::from_secs(30);

/// How long readers may take while the daemon starts: everybody's programs wait for it.
#[derive(Clone, Copy, Debug)]
pub struct StartPatience {
    /// All questions about one object, whatever others took.
    pub each: Duration,
    /// All questions about all objects that are read again, whatever came of them. One gets half of what is left, so that
    /// the first of them does not take what the others need.
    pub again: Duration,
}

impl Default for StartPatience {
    fn default() -> Self {
        Self { each: Duration::from_secs(3), again: Duration::from_secs(30) }
    }
}

/// How long readers may take now.
#[derive(Debug)]
pub(crate) struct Patience {
    usual: Duration,
    /// None once the daemon has started.
    start: Mutex<Option<StartPatience>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(USUAL, None)
    }
}

impl Patience {
    pub(crate) fn new(usual: Duration, start: Option<StartPatience>) -> Self {
        Self { usual, start: Mutex::new(start) }
    }

    pub(crate) fn usual(&self) -> Duration {
        self.usual
    }

    pub(crate) fn has_started(&self) {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For all questions about one object.
    pub(crate) fn of_one(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| start.each.min(self.usual))
    }

    /// The same where it is read again.
    pub(crate) fn of_one_again(&self) -> Duration {
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        start.map_or(self.usual, |start| (start.again / 2).min(self.usual))
    }

    /// One that is read again took so long for a question.
    pub(crate) fn charge(&self, took: Duration) {
        if let Some(start) = self.start.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            start.again = start.again.saturating_sub(took);
        }
    }
}

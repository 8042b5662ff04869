//! Time since the last request ended, for the idle exit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Requests in progress, and the end of the last one.
#[derive(Debug)]
pub struct Activity {
    began: Instant,
    running: AtomicUsize,
    last_milliseconds: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self { began: Instant::now(), running: AtomicUsize::new(0), last_milliseconds: AtomicU64::new(0) }
    }
}

impl Activity {
    pub(crate) fn begin(&self) -> RunningRequest<'_> {
        self.running.fetch_add(1, Ordering::SeqCst);
        RunningRequest(self)
    }

    /// Returns the time since the last request ended; `None` while one is in progress.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        if self.running.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let last = Duration::from_millis(self.last_milliseconds.load(Ordering::SeqCst));
        Some(self.began.elapsed().saturating_sub(last))
    }
}

pub(crate) struct RunningRequest<'a>(&'a Activity);

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_milliseconds.store(now, Ordering::SeqCst);
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_not_idle_while_a_request_runs() {
        let activity = Activity::default();
        assert!(activity.idle().is_some());
        let running = activity.begin();
        assert!(activity.idle().is_none());
        drop(running);
        assert!(activity.idle().is_some());
    }
}

//! Outages of the API server in the log: one warning for an outage, however many watches fail in it.
//!
//! A process has up to a dozen watches, and all of them fail when the server ends. Each fails several times more while it
//! starts: it refuses connections, then refuses all accounts until it has read its roles (403), then has no history to
//! continue from (410). None of that is news to a reader who knows that the server is away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The outages of this process.
pub static OUTAGE: Outage = Outage::new();

/// Watches that fail now.
#[derive(Debug)]
pub struct Outage {
    next: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// Failures in a row of each watch that fails.
    failing: BTreeMap<u64, u32>,
    reported: bool,
}

/// A part that one watch has in outages. It ends with this value.
#[derive(Debug)]
pub struct WatchHealth<'a> {
    outage: &'a Outage,
    id: u64,
}

impl Outage {
    /// No watch fails.
    #[must_use]
    pub const fn new() -> Self {
        let now = Now { failing: BTreeMap::new(), reported: false };
        Self { next: AtomicU64::new(0), now: Mutex::new(now) }
    }

    /// Returns the health of one more watch.
    pub fn watch(&self) -> WatchHealth<'_> {
        WatchHealth { outage: self, id: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Outage {
    fn default() -> Self {
        Self::new()
    }
}

impl WatchHealth<'_> {
    /// Notes a failure. Returns whether it is to be reported: the second in a row of any watch, once in an outage. A single
    /// one is how a watch ends whose server does.
    #[must_use]
    pub fn failed(&self) -> bool {
        let mut now = self.outage.now();
        let times = now.failing.entry(self.id).or_default();
        *times = times.saturating_add(1);
        let report = *times > 1 && !now.reported;
        now.reported |= report;
        report
    }

    /// Notes that the watch works. Returns whether an outage that was reported is over with it: no watch fails any more.
    #[must_use]
    pub fn works(&self) -> bool {
        let mut now = self.outage.now();
        let over = now.failing.remove(&self.id).is_some() && now.failing.is_empty() && now.reported;
        now.reported &= !over;
        over
    }
}

impl Drop for WatchHealth<'_> {
    fn drop(&mut self) {
        let _over = self.works();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_many_watches_is_reported_once() {
        let outage = Outage::new();
        let watches: Vec<_> = (0..6).map(|_| outage.watch()).collect();
        // Refused connections, 403, 410: six times three failures.
        let reports = (0..3).flat_map(|_| &watches).filter(|watch| watch.failed()).count();
        assert_eq!(reports, 1);
        let ends: Vec<bool> = watches.iter().map(WatchHealth::works).collect();
        assert_eq!(ends, [false, false, false, false, false, true]);
    }

    #[test]
    fn the_next_outage_is_reported_again() {
        let outage = Outage::new();
        let watch = outage.watch();
        for _ in 0..2 {
            assert_eq!([watch.failed(), watch.failed(), watch.failed()], [false, true, false]);
            assert_eq!([watch.works(), watch.works()], [true, false]);
        }
    }

    #[test]
    fn a_single_failure_is_not_reported() {
        let outage = Outage::new();
        let watch = outage.watch();
        assert!(!watch.failed() && !watch.works());
        assert!(!watch.failed());
    }

    #[test]
    fn a_watch_that_is_dropped_fails_no_more() {
        let outage = Outage::new();
        let (stays, goes) = (outage.watch(), outage.watch());
        let _reported = [stays.failed(), goes.failed(), stays.failed()];
        drop(goes);
        assert!(stays.works());
    }
}

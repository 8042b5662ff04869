//! Outages of the API server in the log: one warning per outage, however many watches fail. A starting server refuses
//! connections, then all accounts (403), then has no history to continue from (410).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Outages of this process.
pub static OUTAGE: Outage = Outage::new();

/// Watches that currently fail.
#[derive(Debug)]
pub struct Outage {
    next: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    failing: BTreeMap<u64, u32>,
    reported: bool,
}

/// Health of one watch, which no longer counts once this value is dropped.
#[derive(Debug)]
pub struct WatchHealth<'a> {
    outage: &'a Outage,
    id: u64,
}

impl Outage {
    /// Returns the initial state: no watch fails.
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
    /// Records a failure. Returns whether to report it: once per outage, at a watch's second failure in a
    /// row, because a single one is normal.
    #[must_use]
    pub fn failed(&self) -> bool {
        let mut now = self.outage.now();
        let times = now.failing.entry(self.id).or_default();
        *times = times.saturating_add(1);
        let report = *times > 1 && !now.reported;
        now.reported |= report;
        report
    }

    /// Records that the watch works. Returns whether this ends a reported outage, because no watch fails any more.
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

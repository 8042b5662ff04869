//! Time that changes of hooks took, mostly under the kernel's network lock (RTNL), on which all network changes wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct HeldNetwork {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    longest: AtomicU64,
}

/// Numbers and times of changes of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookChanges {
    /// Number of links created, ended and updated, and of filters changed.
    pub calls: u64,
    pub total: Duration,
    /// Longest time of one change.
    pub longest: Duration,
}

impl HeldNetwork {
    pub fn during<T>(&self, change: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = change();
        let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        self.longest.fetch_max(spent, Ordering::Relaxed);
        result
    }

    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    pub fn counted(&self) -> HookChanges {
        HookChanges {
            calls: self.calls.load(Ordering::Relaxed),
            total: self.spent(),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
        }
    }
}

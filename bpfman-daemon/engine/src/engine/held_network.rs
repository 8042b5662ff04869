//! How long changes of hooks took in the kernel: most of that is under its network lock, where every other change of the
//! network on the machine waits too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts since the engine was opened.
#[derive(Debug, Default)]
pub struct HeldNetwork {
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    longest: AtomicU64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookChanges {
    /// Links made, ended and swapped, and filters.
    pub calls: u64,
    /// Time of all of them.
    pub total: Duration,
    /// Time of the longest.
    pub longest: Duration,
}

impl HeldNetwork {
    /// Does a change and counts its time.
    pub fn during<T>(&self, change: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = change();
        let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        self.longest.fetch_max(spent, Ordering::Relaxed);
        result
    }

    /// Time of all changes so far.
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

//! Counters of drift.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of differences from the records since the engine was opened. A lasting difference counts once.
#[derive(Debug, Default)]
pub struct DriftCounts {
    pub found: AtomicU64,
    pub mended: AtomicU64,
}

impl DriftCounts {
    /// Returns the numbers of differences found, and of those repaired.
    pub fn counted(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.mended.load(Ordering::Relaxed))
    }
}

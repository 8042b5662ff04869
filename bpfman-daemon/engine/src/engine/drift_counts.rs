use std::sync::atomic::{AtomicU64, Ordering};

/// Differences from the records since the engine was opened. A lasting difference counts once.
#[derive(Debug, Default)]
pub struct DriftCounts {
    pub found: AtomicU64,
    pub mended: AtomicU64,
}

impl DriftCounts {
    pub fn counted(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.mended.load(Ordering::Relaxed))
    }
}

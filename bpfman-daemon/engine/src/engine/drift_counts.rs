//! How often what was put was found lost.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was found to differ since the engine was opened. What stays lost counts once.
#[derive(Debug, Default)]
pub struct DriftCounts {
    pub found: AtomicU64,
    pub mended: AtomicU64,
}

impl DriftCounts {
    /// Found, and of these mended.
    pub fn counted(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.mended.load(Ordering::Relaxed))
    }
}

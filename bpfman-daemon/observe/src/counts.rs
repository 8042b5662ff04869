//! Counts that parts of the daemon keep beside the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What became of images.
#[derive(Debug, Default)]
pub struct ImageCounts {
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    pulls: AtomicU64,
    pulled_bytes: AtomicU64,
}

impl ImageCounts {
    /// An image was asked for, and this came of it.
    pub fn asked(&self, outcome: &'static str) {
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    /// So many bytes of an image came from a registry.
    pub fn pulled(&self, bytes: u64) {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.pulled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// By outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Images that came from registries, and their bytes.
    #[must_use]
    pub fn pulls(&self) -> (u64, u64) {
        (self.pulls.load(Ordering::Relaxed), self.pulled_bytes.load(Ordering::Relaxed))
    }
}

/// What was done with programs that take more of a CPU than they may.
#[derive(Debug, Default)]
pub struct LimitCounts {
    /// They were warned of.
    pub warned: AtomicU64,
    /// Their links ended.
    pub detached: AtomicU64,
    /// The version before took their place.
    pub took_back: AtomicU64,
}

impl LimitCounts {
    /// Each with its name.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 3] {
        [("warned", &self.warned), ("detached", &self.detached), ("took-back", &self.took_back)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

//! Counters of parts of the daemon outside the engine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of image loads.
#[derive(Debug, Default)]
pub struct ImageCounts {
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
    pulls: AtomicU64,
    pulled_bytes: AtomicU64,
}

impl ImageCounts {
    /// Counts a load with its outcome.
    pub fn asked(&self, outcome: &'static str) {
        *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    /// Counts a pull with its size, in bytes.
    pub fn pulled(&self, bytes: u64) {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.pulled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns the number of loads by outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of pulls, and their bytes.
    #[must_use]
    pub fn pulls(&self) -> (u64, u64) {
        (self.pulls.load(Ordering::Relaxed), self.pulled_bytes.load(Ordering::Relaxed))
    }
}

/// Counts of actions against programs that exceed their CPU limits.
#[derive(Debug, Default)]
pub struct LimitCounts {
    pub warned: AtomicU64,
    pub detached: AtomicU64,
    /// Rollbacks to the former version.
    pub took_back: AtomicU64,
}

impl LimitCounts {
    /// Returns all counts with their names.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 3] {
        [("warned", &self.warned), ("detached", &self.detached), ("took-back", &self.took_back)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

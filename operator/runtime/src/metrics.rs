//! Counters of agent and controller.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bpfman_metrics::{Exposition, Metric};

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by label values.
#[derive(Debug)]
pub struct Counters<V = String, const LABELS: usize = 1>(Mutex<BTreeMap<[V; LABELS], u64>>);

impl<V, const LABELS: usize> Default for Counters<V, LABELS> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone + Ord> Counters<V> {
    /// Adds an amount to the counter of one label value.
    pub fn add(&self, label: impl Into<V>, amount: u64) {
        self.add_to([label.into()], amount);
    }
}

impl<V: Clone + Ord, const LABELS: usize> Counters<V, LABELS> {
    /// Adds an amount to the counter of label values.
    pub fn add_to(&self, labels: [V; LABELS], amount: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default() += amount;
    }

    /// Returns all counters by label values.
    #[must_use]
    pub fn all(&self) -> BTreeMap<[V; LABELS], u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds counters to the samples of a scrape.
pub fn add_counters<V: AsRef<str> + Clone + Ord, const LABELS: usize>(
    samples: &mut Exposition,
    metric: &'static Metric,
    counters: &Counters<V, LABELS>,
) {
    for (labels, count) in counters.all() {
        samples.add(metric, labels.each_ref().map(AsRef::as_ref), count);
    }
}

//! Durations of operations of one kind, for metrics, counted at little cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the counts, in microseconds: from the time of memory accesses to that of disks and verifiers.
const BOUNDS: [u64; 12] =
    [50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 30_000_000];

/// Counts by duration since creation. Each update is two atomic additions.
#[derive(Debug, Default)]
pub struct DurationCounts {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// Copy of the counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CountedDurations {
    /// Upper bound in seconds, and number of durations between the previous bound and this one. The last is infinite.
    pub counts: Vec<(f64, u64)>,
    /// Sum of all durations.
    pub total: Duration,
}

impl DurationCounts {
    /// Counts one duration.
    pub fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Runs work and counts its duration.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.add(began.elapsed());
        done
    }

    /// Returns the counts so far.
    #[must_use]
    pub fn counted(&self) -> CountedDurations {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        CountedDurations {
            counts: bounds.zip(counts).collect(),
            total: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once_below_the_first_bound_that_it_fits() {
        let counts = DurationCounts::default();
        for micros in [0, 50, 51, 1_000_000, 40_000_000] {
            counts.add(Duration::from_micros(micros));
        }
        let counted = counts.counted();
        let found: Vec<(f64, u64)> = counted.counts.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [(0.000_05, 2), (0.000_1, 1), (1.0, 1), (f64::INFINITY, 1)]);
        assert_eq!(counted.total, Duration::from_micros(41_000_101));
    }
}

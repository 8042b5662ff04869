//! Exponential backoff with jitter. Separate: [`crate::watch_backoff`] delays watches that did not fail,
//! `WritePace` and `StatusPace` limit rates, and `RegistryBackoff` leaves the jitter to the queue.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Returns a delay varied by up to 20 %: thousands of agents must not reconnect at the same time.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * random())
}

/// Returns a random number of at least 0 and below 1. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    // Each `RandomState` has random keys from the standard library.
    let bits = RandomState::new().build_hasher().finish() >> 12;
    bits as f64 / (1_u64 << 52) as f64
}

/// Returns the delay after a number of failures, without jitter.
#[must_use]
pub fn after(failures: u32, first: Duration, longest: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    first.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let wait = |failures| after(failures, Duration::from_secs(1), Duration::from_secs(300)).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 1000, u32::MAX].map(wait), [1, 2, 4, 256, 300, 300, 300]);
    }

    #[test]
    fn no_two_waits_are_in_step() {
        let waits: std::collections::BTreeSet<_> =
            (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(waits.len() > 90, "{waits:?}");
        assert!(waits.iter().all(|wait| (8.0..12.0).contains(&wait.as_secs_f64())), "{waits:?}");
    }
}

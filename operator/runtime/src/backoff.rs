//! How long to wait before the next try: longer each time, and never in step with others.
//!
//! The queue, watches and the agent's stream from the daemon wait by [`after`]. [`crate::watch_backoff`] does not: the
//! server ended what it holds back, and nothing failed. Neither do the agent's `WritePace`, a bucket of writes, and the
//! controller's `StatusPace`, a least time between two writes. The agent's `RegistryBackoff` has no jitter of its own, since
//! the queue that asks by it has.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// A wait that is drawn from the middle out: 80 to 120 of a hundred.
///
/// A thousand agents lose the same API server at the same time; they must not come back at the same time.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * random())
}

/// At least 0, below 1. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    // Each state has keys of its own, drawn by the standard library.
    let bits = RandomState::new().build_hasher().finish() >> 12;
    // 52 bits: exact as a float.
    bits as f64 / (1_u64 << 52) as f64
}

/// The wait after so many failures, without jitter.
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

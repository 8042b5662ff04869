//! Waiting for something to become true, without keeping other tasks from running.

use std::time::{Duration, Instant};

pub use bpfman_tests::wait::DEADLINE;

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold by the deadline.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    some(what, async || holds().await.then_some(())).await;
}

/// Waits until there is something.
///
/// # Panics
/// There is nothing by the deadline.
pub async fn some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "after {DEADLINE:?} still not true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

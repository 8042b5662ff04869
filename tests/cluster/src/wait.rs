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

/// Waits until a condition holds, for as long as another's slowness may take.
///
/// # Panics
/// It does not hold by then.
pub async fn until_within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    some_within(patience, what, async || holds().await.then_some(())).await;
}

/// Waits until there is something.
///
/// # Panics
/// There is nothing by the deadline.
pub async fn some<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    some_within(DEADLINE, what, look).await
}

async fn some_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "after {patience:?} still not true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

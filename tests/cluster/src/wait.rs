//! Waiting for something to become true, without keeping other tasks from running.

use std::time::{Duration, Instant};

pub use bpfman_tests::wait::DEADLINE;

/// Time between two looks: an eighth of what was waited already, between these. Many a look is a run of kubectl, which takes a
/// tenth of a second of processor time: looked at all the time, what is waited for comes later.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(250);

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
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        let waited = begun.elapsed();
        assert!(waited < patience, "after {patience:?} still not true: {what}");
        tokio::time::sleep((waited / 8).clamp(MIN_PAUSE, MAX_PAUSE)).await;
    }
}

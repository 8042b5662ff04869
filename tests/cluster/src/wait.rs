//! Waiting for conditions without blocking other tasks.

use std::time::{Duration, Instant};

pub use bpfman_tests::wait::DEADLINE;

/// Bounds of the pause between two polls, an eighth of the time waited so far: many polls run slow kubectl.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_millis(250);

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    some(what, async || holds().await.then_some(())).await;
}

pub async fn until_within(patience: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    some_within(patience, what, async || holds().await.then_some(())).await;
}

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

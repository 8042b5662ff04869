//! Metrics text, shared by concurrent scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;

const SHARED_FOR: Duration = Duration::from_secs(1);

/// Function that collects metrics; it may block for some milliseconds.
pub type CollectFn = Box<dyn Fn() -> String + Send + Sync>;

/// Cache of the metrics text.
pub struct Scrapes {
    gather: std::sync::Arc<CollectFn>,
    last: Mutex<Option<(Instant, Bytes)>>,
    began: Instant,
    /// Time of the last scrape in milliseconds since `began`, plus one; 0 if there was none.
    read: AtomicU64,
}

impl Scrapes {
    /// Creates a cache with this function.
    #[must_use]
    pub fn new(gather: CollectFn) -> Self {
        Self {
            gather: std::sync::Arc::new(gather),
            last: Mutex::default(),
            began: Instant::now(),
            read: AtomicU64::default(),
        }
    }

    /// Returns a text of the last second; `None` if collection failed. Concurrent callers wait for the same collection.
    pub(super) async fn text(&self) -> Option<Bytes> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.read.store(now + 1, Ordering::Relaxed);
        let mut last = self.last.lock().await;
        if let Some((_, text)) = last.as_ref().filter(|(at, _)| at.elapsed() < SHARED_FOR) {
            return Some(text.clone());
        }
        let gather = std::sync::Arc::clone(&self.gather);
        let gathered = tokio::task::spawn_blocking(move || (*gather)()).await;
        let text = gathered
            .inspect_err(|error| tracing::error!(%error, "gathering metrics ended in a panic"))
            .ok()
            .map(Bytes::from)?;
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }

    /// Returns whether there was a scrape within this time.
    #[must_use]
    pub fn were_read_within(&self, time: Duration) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        read != 0 && self.began.elapsed().saturating_sub(Duration::from_millis(read - 1)) <= time
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn readers_of_one_second_share_one_gathering() {
        let gathered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&gathered);
        let scrapes = Arc::new(Scrapes::new(Box::new(move || {
            format!("text {}\n", count.fetch_add(1, Ordering::Relaxed))
        })));
        assert!(!scrapes.were_read_within(Duration::from_secs(3600)));
        let readers: Vec<_> = (0..20)
            .map(|_| {
                let scrapes = Arc::clone(&scrapes);
                tokio::spawn(async move { scrapes.text().await })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap().unwrap(), "text 0\n");
        }
        assert_eq!(gathered.load(Ordering::Relaxed), 1);
        assert!(scrapes.were_read_within(Duration::from_secs(3600)));
    }
}

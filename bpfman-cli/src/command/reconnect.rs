//! Waiting for a daemon that is not available.

use std::time::Duration;

/// Minimum and maximum pause: a restart takes some hundred milliseconds.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct ReconnectBackoff {
    next: Duration,
}

impl Default for ReconnectBackoff {
    fn default() -> Self {
        Self { next: MIN_PAUSE }
    }
}

impl ReconnectBackoff {
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(MAX_PAUSE);
    }
}

//! Waiting for a daemon that is not there now.

use std::time::Duration;

/// The first pause, and the longest: a restart takes some hundred milliseconds.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// How long nobody has answered.
#[derive(Debug)]
pub struct DaemonAway {
    next: Duration,
}

impl Default for DaemonAway {
    fn default() -> Self {
        Self { next: SHORTEST }
    }
}

impl DaemonAway {
    /// Waits until it is worth to try again: longer each time.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}

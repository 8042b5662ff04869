//! Whether somebody still reads standard output, known also while nothing is written to it.

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Standard output, as long as somebody reads it.
pub struct OpenOutput(Option<AsyncFd<OwnedFd>>);

impl OpenOutput {
    /// Looks at standard output. Files are open for good.
    pub fn of_stdout() -> Self {
        let copy = rustix::io::dup(std::io::stdout()).ok();
        #[expect(deprecated, reason = "what replaces it is unsafe; an owned descriptor stays what it is")]
        Self(copy.and_then(|copy| AsyncFd::with_interest(copy, Interest::ERROR).ok()))
    }

    /// Returns when the last reader of a pipe has gone.
    pub async fn closed(&mut self) {
        match &self.0 {
            Some(output) => {
                let _closed = output.ready(Interest::ERROR).await;
            }
            None => std::future::pending().await,
        }
    }
}

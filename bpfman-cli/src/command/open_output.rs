//! Detection of a closed standard output, also while nothing is written.

use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub struct OpenOutput(Option<AsyncFd<OwnedFd>>);

impl OpenOutput {
    /// Watches standard output. Files never count as closed.
    pub fn of_stdout() -> Self {
        let copy = rustix::io::dup(std::io::stdout()).ok();
        #[expect(deprecated, reason = "what replaces it is unsafe; an owned descriptor stays what it is")]
        Self(copy.and_then(|copy| AsyncFd::with_interest(copy, Interest::ERROR).ok()))
    }

    pub async fn closed(&mut self) {
        match &self.0 {
            Some(output) => {
                let _closed = output.ready(Interest::ERROR).await;
            }
            None => std::future::pending().await,
        }
    }
}

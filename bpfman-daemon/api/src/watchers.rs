//! Streams that tell of changes: how many there are, and their end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Most streams at the same time: each has a thread.
pub(crate) const MOST_WATCHERS: usize = 64;

/// All streams of a daemon.
#[derive(Debug)]
pub(crate) struct Watchers {
    room: Arc<Semaphore>,
    ended: watch::Sender<bool>,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MOST_WATCHERS)), ended: watch::Sender::new(false) }
    }
}

impl Watchers {
    /// Room for one more, given back when the answer is dropped; none if there is none.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Ends all streams, those that begin later too.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Returns when the streams are to end.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // The sender is gone with the daemon.
            let _gone = ended.wait_for(|ended| *ended).await;
        }
    }
}

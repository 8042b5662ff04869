//! Streams of changes: their limits and their end.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;

use crate::places::{ReadingBounds, ReadingPlace, ReadingPlaces};

/// Limits of concurrent streams: each has a thread of its own while it lasts.
const WATCH_STREAMS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 64 };

#[derive(Debug)]
pub(crate) struct Watchers {
    places: Arc<ReadingPlaces>,
    ended: watch::Sender<bool>,
}

impl Default for Watchers {
    fn default() -> Self {
        let places = ReadingPlaces::new("streams of changes", WATCH_STREAMS);
        Self { places: Arc::new(places), ended: watch::Sender::new(false) }
    }
}

impl Watchers {
    /// Acquires a place for a user's stream.
    ///
    /// # Errors
    /// No place is free, or none that this user may have.
    pub fn enter(&self, uid: u32) -> Result<ReadingPlace, Status> {
        self.places.enter(uid)
    }

    /// Ends all streams, including those that begin later.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Returns a future that completes when the streams have to end.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // The sender is dropped with the daemon.
            let _gone = ended.wait_for(|ended| *ended).await;
        }
    }
}

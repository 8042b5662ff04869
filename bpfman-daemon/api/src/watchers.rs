//! Streams that tell of changes: how many there are, and their end.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;

use crate::places::{ReadingBounds, ReadingPlace, ReadingPlaces};

/// Streams at the same time: each has a thread of its own, for as long as it lasts.
const WATCH_STREAMS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 64 };

/// All streams of a daemon.
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
    /// A place for one more of a user.
    ///
    /// # Errors
    /// All are taken, or all that one user may have.
    pub fn enter(&self, uid: u32) -> Result<ReadingPlace, Status> {
        self.places.enter(uid)
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

//! What all streams of the journal share: places, and the number of the newest entry.

use std::sync::Arc;

use bpfmand_journal::{Journal, WrittenListener};
use tokio::sync::watch;

use crate::places::{ReadingBounds, ReadingPlaces};

/// Streams at the same time.
const EVENT_STREAMS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 2 };

/// Followers of one journal.
pub(crate) struct EventFollowers {
    /// Room for streams.
    pub places: Arc<ReadingPlaces>,
    written: watch::Sender<u64>,
    /// The journal tells it as long as it is here.
    _listener: Arc<WrittenListener>,
}

impl EventFollowers {
    /// Followers of this journal. Its writer leaves a number here and waits for nobody.
    pub fn of(journal: &Journal) -> Self {
        let written = watch::Sender::new(0);
        let listener: Arc<WrittenListener> = Arc::new({
            let written = written.clone();
            move |last| {
                written.send_replace(last);
            }
        });
        journal.on_written(&listener);
        // More may have been told meanwhile.
        let last = journal.last();
        written.send_modify(|told| *told = last.max(*told));
        let places = ReadingPlaces::new("streams of events", EVENT_STREAMS);
        Self { places: Arc::new(places), written, _listener: listener }
    }

    /// The number of the newest entry, now and whenever there is another.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

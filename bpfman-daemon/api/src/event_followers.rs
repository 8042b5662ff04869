//! Shared state of all streams of the journal: their limits, and the number of the newest entry.

use std::sync::Arc;

use bpfmand_journal::{Journal, WrittenListener};
use tokio::sync::watch;

use crate::places::{ReadingBounds, ReadingPlaces};

const EVENT_STREAMS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 2 };

pub(crate) struct EventFollowers {
    pub places: Arc<ReadingPlaces>,
    written: watch::Sender<u64>,
    /// The journal notifies the listener while this reference exists.
    _listener: Arc<WrittenListener>,
}

impl EventFollowers {
    /// Creates the followers of a journal. Its writer stores a number here and waits for no follower.
    pub fn of(journal: &Journal) -> Self {
        let written = watch::Sender::new(0);
        let listener: Arc<WrittenListener> = Arc::new({
            let written = written.clone();
            move |last| {
                written.send_replace(last);
            }
        });
        journal.on_written(&listener);
        // The listener may have stored a higher number in the meantime.
        let last = journal.last();
        written.send_modify(|told| *told = last.max(*told));
        let places = ReadingPlaces::new("streams of events", EVENT_STREAMS);
        Self { places: Arc::new(places), written, _listener: listener }
    }

    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

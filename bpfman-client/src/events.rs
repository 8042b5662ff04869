//! Following the daemon's journal.

use std::collections::VecDeque;

use bpfman_proto::ext::v1 as ext;
use tonic::Streaming;

use crate::Error;

/// Query for journal entries. The default selects each entry written from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    request: ext::FollowEventsRequest,
}

/// Stream of entries, the oldest first. It ends with the connection: to continue, begin a new stream with
/// [`EventQuery::resuming`] from [`Events::place`]. Then no entry comes twice, and a missed one is reported.
#[derive(Debug)]
pub struct Events {
    stream: Streaming<ext::FollowEventsResponse>,
    read: VecDeque<JournalEvent>,
    read_to: u64,
    position: u64,
    newest: u64,
    epoch: String,
}

/// Position of a reader in the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPlace {
    /// Number up to which everything was returned.
    pub number: u64,
    /// Epoch (run) of the daemon that assigned the number, empty if unknown. Later runs reuse numbers of lost entries.
    pub epoch: String,
}

/// Event of a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JournalEvent {
    /// A journal entry.
    Entry(Box<ext::JournalLine>),
    /// Numbers of entries that are not available: the bounded journal dropped its oldest entries before they were read,
    /// or they could not be written.
    Missed {
        /// First missed number.
        first: u64,
        /// Last missed number.
        last: u64,
    },
    /// The daemon lost entries, and their numbers now belong to other entries. Those entries follow.
    Renumbered {
        /// Number after which the numbers changed.
        after: u64,
    },
    /// Number of lines that are damaged on disk. Their entries are reported as missed.
    Damaged(u64),
}

impl EventQuery {
    /// Selects each entry written from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wraps a request of the wire.
    #[must_use]
    pub const fn of(request: ext::FollowEventsRequest) -> Self {
        Self { request }
    }

    /// Selects entries with greater numbers, including existing ones; after 0: all that are kept.
    #[must_use]
    pub fn after(mut self, number: u64) -> Self {
        // Entries after a number are requested without a count limit.
        (self.request.after, self.request.newest) = (Some(number), 0);
        self.request.epoch.clear();
        self
    }

    /// Selects the entries after the position of an earlier stream, in any run of the daemon.
    #[must_use]
    pub fn resuming(self, place: EventPlace) -> Self {
        let mut resuming = self.after(place.number);
        resuming.request.epoch = place.epoch;
        resuming
    }

    /// Selects the newest `count` existing entries first.
    #[must_use]
    pub const fn newest(mut self, count: u32) -> Self {
        self.request.newest = count;
        self
    }

    /// Ends the stream with the newest entry that exists now.
    #[must_use]
    pub const fn until_now(mut self) -> Self {
        self.request.until_now = true;
        self
    }

    pub(crate) fn into_request(self) -> ext::FollowEventsRequest {
        self.request
    }
}

impl Events {
    /// Reads the first answer: from there on, missed entries are reported. Fails if the daemon is stopping.
    pub(crate) async fn begin(stream: Streaming<ext::FollowEventsResponse>) -> Result<Self, Error> {
        let (read, epoch) = (VecDeque::new(), String::new());
        let mut events = Self { stream, read, read_to: 0, position: 0, newest: 0, epoch };
        match events.read_answer().await? {
            true => Ok(events),
            false => {
                let why = "the daemon ended the stream of events before it began: it is ending";
                Err(tonic::Status::unavailable(why).into())
            }
        }
    }

    /// Waits for the next event; none if the daemon stops, or everything requested was returned.
    ///
    /// # Errors
    /// [`Error::Refused`]: the connection broke ([`Error::is_lost`]), or the caller may no longer read.
    pub async fn next(&mut self) -> Result<Option<JournalEvent>, Error> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.position = match &event {
                    _ if self.read.is_empty() => self.read_to,
                    JournalEvent::Entry(line) => line.number,
                    JournalEvent::Missed { last, .. } => *last,
                    JournalEvent::Damaged(_) | JournalEvent::Renumbered { .. } => self.position,
                };
                return Ok(Some(event));
            }
            if !self.read_answer().await? {
                return Ok(None);
            }
        }
    }

    /// Returns the number up to which everything was returned.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the position of this stream, for [`EventQuery::resuming`].
    #[must_use]
    pub fn place(&self) -> EventPlace {
        EventPlace { number: self.position, epoch: self.epoch.clone() }
    }

    /// Returns the epoch (run) of the daemon that assigned these numbers; empty if the daemon does not support it.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Returns the number of the journal's newest entry, as last reported by the daemon.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    async fn read_answer(&mut self) -> Result<bool, Error> {
        let Some(answer) = self.stream.message().await? else { return Ok(false) };
        let ext::FollowEventsResponse { missed, entries, position, damaged, newest, epoch, renumbered_after } =
            answer;
        if !epoch.is_empty() {
            self.epoch = epoch;
        }
        self.read.extend(renumbered_after.map(|after| JournalEvent::Renumbered { after }));
        self.read.extend((damaged > 0).then_some(JournalEvent::Damaged(damaged)));
        self.read.extend(missed.map(|gap| JournalEvent::Missed { first: gap.first, last: gap.last }));
        self.read.extend(entries.into_iter().map(|line| JournalEvent::Entry(Box::new(line))));
        (self.read_to, self.newest) = (position, newest);
        if self.read.is_empty() {
            self.position = position;
        }
        Ok(true)
    }
}

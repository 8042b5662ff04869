//! Following the daemon's journal.

use std::collections::VecDeque;

use bpfman_proto::ext::v1 as ext;
use tonic::Streaming;

use crate::Error;

/// Which entries of the journal to get. Without more: each that is written from now on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    request: ext::FollowEventsRequest,
}

/// A stream of entries, the oldest first. It ends with the connection: begin a new one then, with
/// [`EventQuery::resuming`] from [`Events::place`], and nothing comes twice or is missed unnoticed.
#[derive(Debug)]
pub struct Events {
    stream: Streaming<ext::FollowEventsResponse>,
    /// Of the answer that was read last.
    read: VecDeque<JournalEvent>,
    read_to: u64,
    position: u64,
    newest: u64,
    epoch: String,
}

/// Where a reader of the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPlace {
    /// Up to this number all was told.
    pub number: u64,
    /// The run of the daemon that told it: numbers whose entries were lost are given again by a later one. Empty: not known.
    pub epoch: String,
}

/// What a stream tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JournalEvent {
    /// An entry.
    Entry(Box<ext::JournalLine>),
    /// Numbers that cannot be had any more: the journal is bounded, and its oldest entries went before they were read; or they
    /// could not be written.
    Missed {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Numbers after this one were given to other entries since they were told: the daemon had lost those entries. What is
    /// behind it comes now.
    Renumbered {
        /// The number.
        after: u64,
    },
    /// So many lines are damaged on disk. Their numbers are told as missed.
    Damaged(u64),
}

impl EventQuery {
    /// Each entry that is written from now on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a request as the wire has it.
    #[must_use]
    pub const fn of(request: ext::FollowEventsRequest) -> Self {
        Self { request }
    }

    /// Entries with greater numbers, those that there are too; after 0: all that are kept.
    #[must_use]
    pub fn after(mut self, number: u64) -> Self {
        // What is behind a number is asked for whole.
        (self.request.after, self.request.newest) = (Some(number), 0);
        self.request.epoch.clear();
        self
    }

    /// What comes behind a place where a stream was, in whichever run of the daemon.
    #[must_use]
    pub fn resuming(self, place: EventPlace) -> Self {
        let mut resuming = self.after(place.number);
        resuming.request.epoch = place.epoch;
        resuming
    }

    /// Of the entries that there are, the newest so many.
    #[must_use]
    pub const fn newest(mut self, count: u32) -> Self {
        self.request.newest = count;
        self
    }

    /// Ends with the newest entry that there is now.
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
    /// Reads the beginning: from there on nothing is missed unnoticed.
    ///
    /// # Errors
    /// The stream ended before it began: the daemon ends.
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

    /// Waits for the next event; none when the daemon ends, or all was told that was asked for.
    ///
    /// # Errors
    /// [`Error::Refused`]: the connection broke ([`Error::is_lost`]), or the caller may not read any more.
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

    /// Up to this number all was returned.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Where this stream is, for [`EventQuery::resuming`].
    #[must_use]
    pub fn place(&self) -> EventPlace {
        EventPlace { number: self.position, epoch: self.epoch.clone() }
    }

    /// The run of the daemon that tells these numbers; empty where it is older than that.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The number of the newest entry of the journal, as the daemon told it last.
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

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
/// [`EventQuery::after`] the [`Events::position`] of this one, and nothing comes twice or is missed unnoticed.
#[derive(Debug)]
pub struct Events {
    stream: Streaming<ext::FollowEventsResponse>,
    /// Of the answer that was read last.
    read: VecDeque<JournalEvent>,
    read_to: u64,
    position: u64,
    newest: u64,
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
        self
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
    pub(crate) async fn begin(stream: Streaming<ext::FollowEventsResponse>) -> Result<Self, Error> {
        let mut events = Self { stream, read: VecDeque::new(), read_to: 0, position: 0, newest: 0 };
        events.read_answer().await?;
        Ok(events)
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
                    JournalEvent::Damaged(_) => self.position,
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

    /// The number of the newest entry of the journal, as the daemon told it last.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    async fn read_answer(&mut self) -> Result<bool, Error> {
        let Some(answer) = self.stream.message().await? else { return Ok(false) };
        let ext::FollowEventsResponse { missed, entries, position, damaged, newest } = answer;
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

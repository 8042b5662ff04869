//! What a follower of the journal asks for, and where it begins.

use std::cell::Cell;

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::printable::one_line;
use bpfmand_journal::{HistoryEntry, HistoryReader, Journal, JournalCursor, JournalError, JournalResumption};
use tonic::Status;

use crate::entry_filter::{EntryFilter, parse_since};
use crate::history::{HistoryViewer, MOST_ENTRIES};
use crate::status::conflict;

/// What helps whose number is none of this journal.
const BEGIN_ANEW: &str = "ask for what is after number 0: all entries that are kept";

/// What a follower asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventRequest {
    /// Behind this number.
    after: Option<u64>,
    /// The run that told it; empty: not known.
    epoch: String,
    /// The newest so many of those that there are; 0: all.
    newest: u64,
    /// Not older, as entries have it; empty: all.
    since: String,
    /// Ends with what there is now.
    pub until_now: bool,
    entries: EntryFilter,
}

/// The newest entries that were found, while files are looked through one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestFound {
    /// How many more are looked for.
    wanted: u64,
    /// The lowest of them, or the number behind all.
    lowest: u64,
    /// Entries below this were not looked at; none: all were, or no more are wanted.
    pub before: Option<u64>,
}

impl EventRequest {
    /// Reads a request.
    pub fn parse(request: wire::FollowEventsRequest) -> Result<Self, Status> {
        let wire::FollowEventsRequest {
            after,
            newest,
            since,
            until_now,
            id,
            hook,
            by,
            verbs,
            results,
            epoch,
        } = request;
        let entries = EntryFilter::about(id, hook, by).of_verbs(verbs)?.of_results(results)?;
        let newest = u64::from(newest).min(MOST_ENTRIES as u64);
        Ok(Self { after, epoch, newest, since: parse_since(since)?, until_now, entries })
    }

    /// True for an entry that this follower gets.
    pub fn wants(&self, entry: &HistoryEntry, viewer: &HistoryViewer) -> bool {
        *entry.time >= *self.since && self.entries.wants(entry) && viewer.may_read(entry)
    }

    /// Goes on where the client was, by the run that it was told its number in. Answers the number that it goes on behind if
    /// those after it were given again.
    ///
    /// # Errors
    /// The journal does not remember that run.
    pub fn resume(&mut self, journal: &Journal) -> Result<Option<u64>, Status> {
        let Some(after) = self.after.filter(|_| !self.epoch.is_empty()) else { return Ok(None) };
        match journal.resume(&self.epoch, after) {
            JournalResumption::Same => Ok(None),
            JournalResumption::Renumbered(kept) => {
                self.after = Some(kept);
                Ok(Some(kept))
            }
            JournalResumption::Unknown => Err(conflict(
                &format!(
                    "entries after number {after} of the journal's run \"{}\" are asked for, and this journal does not know that run",
                    one_line(&self.epoch)
                ),
                BEGIN_ANEW,
            )),
        }
    }

    /// Refuses to go on behind a number that this journal has not given yet.
    pub fn ensure_known(&self, last: u64) -> Result<(), Status> {
        match self.after.filter(|after| *after > last) {
            None => Ok(()),
            Some(after) => Err(conflict(
                &format!(
                    "the journal ends with number {last}, and entries after number {after} are asked for: that number is \
                     of a journal that is gone, or power was lost before it was on disk"
                ),
                BEGIN_ANEW,
            )),
        }
    }

    /// What has to be looked for before the beginning is known.
    pub fn newest_wanted(&self, last: u64) -> Option<NewestFound> {
        let behind = last.saturating_add(1);
        (self.newest > 0).then_some(NewestFound { wanted: self.newest, lowest: behind, before: Some(behind) })
    }

    /// Looks through one more file, back from the newest.
    pub fn look_back(
        &self,
        reader: &HistoryReader,
        found: NewestFound,
        viewer: &HistoryViewer,
    ) -> Result<NewestFound, JournalError> {
        let (wanted, lowest) = (Cell::new(found.wanted), Cell::new(found.lowest));
        // Counts, and takes none along.
        let count = |entry: &HistoryEntry| {
            if wanted.get() > 0 && self.wants(entry, viewer) {
                wanted.set(wanted.get() - 1);
                lowest.set(entry.number);
            }
            false
        };
        let page = reader.page(found.before, &self.since, 0, count)?;
        let (wanted, lowest) = (wanted.get(), lowest.get());
        Ok(NewestFound { wanted, lowest, before: page.before.filter(|_| wanted > 0) })
    }

    /// Where the stream begins.
    pub fn begin(&self, last: u64, found: Option<NewestFound>) -> JournalCursor {
        match (found, self.after) {
            (Some(found), after) => {
                JournalCursor::after((found.lowest.saturating_sub(1)).max(after.unwrap_or(0)))
            }
            (None, Some(0)) => JournalCursor::at_oldest(),
            (None, Some(after)) => JournalCursor::after(after),
            (None, None) if !self.since.is_empty() => JournalCursor::at_oldest(),
            (None, None) => JournalCursor::after(last),
        }
    }
}

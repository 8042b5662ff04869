//! Request of a journal follower, and the position at which its stream begins.

use std::cell::Cell;

use bpfman_proto::ext::v1 as wire;
use bpfman_proto::printable::one_line;
use bpfmand_journal::{HistoryEntry, HistoryReader, Journal, JournalCursor, JournalError, JournalResumption};
use tonic::Status;

use crate::entry_filter::{EntryFilter, parse_since};
use crate::history::{HistoryViewer, MAX_ENTRIES};
use crate::status::conflict;

const BEGIN_ANEW: &str = "ask for what is after number 0: all entries that are kept";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventRequest {
    after: Option<u64>,
    epoch: String,
    newest: u64,
    since: String,
    pub until_now: bool,
    entries: EntryFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestFound {
    wanted: u64,
    /// Lowest number found, or the number after the last entry.
    lowest: u64,
    /// Entries below this number were not searched; `None` when the search is complete.
    pub before: Option<u64>,
}

impl EventRequest {
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
        let newest = u64::from(newest).min(MAX_ENTRIES as u64);
        Ok(Self { after, epoch, newest, since: parse_since(since)?, until_now, entries })
    }

    pub fn wants(&self, entry: &HistoryEntry, viewer: &HistoryViewer) -> bool {
        *entry.time >= *self.since && self.entries.wants(entry) && viewer.may_read(entry)
    }

    /// Finds the client's position, whose number counts within one run of the journal; an error if the
    /// journal does not know the run. Returns the number to continue after if later entries were numbered
    /// again.
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

    pub fn newest_wanted(&self, last: u64) -> Option<NewestFound> {
        let behind = last.saturating_add(1);
        (self.newest > 0).then_some(NewestFound { wanted: self.newest, lowest: behind, before: Some(behind) })
    }

    pub fn look_back(
        &self,
        reader: &HistoryReader,
        found: NewestFound,
        viewer: &HistoryViewer,
    ) -> Result<NewestFound, JournalError> {
        let (wanted, lowest) = (Cell::new(found.wanted), Cell::new(found.lowest));
        // Counts matches without collecting them.
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

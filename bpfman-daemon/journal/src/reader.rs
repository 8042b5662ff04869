//! Reader of the journal, newest entry first, in pages.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::{HistoryEntry, JournalError, name};

/// Maximum bytes read of a segment. All settings give smaller segments.
const MAX_SEGMENT: u64 = 256 << 20;

/// Reader of the journal's files. It keeps no file open, and waits for no other thread.
#[derive(Clone, Debug)]
pub struct HistoryReader {
    folder: PathBuf,
}

/// Entries, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    pub entries: Vec<HistoryEntry>,
    /// Number before which the next page continues; `None` if there are no older entries.
    pub before: Option<u64>,
    pub damaged: u64,
}

impl HistoryReader {
    /// Creates a reader of the journal in a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Returns up to `limit` of the entries below `before` that match `wanted`. A page may be empty, and others follow.
    /// Stops at a file with only entries older than `since` (RFC 3339).
    pub fn page(
        &self,
        before: Option<u64>,
        since: &str,
        limit: usize,
        wanted: impl Fn(&HistoryEntry) -> bool,
    ) -> Result<HistoryPage, JournalError> {
        let before = before.unwrap_or(u64::MAX);
        let firsts = self.segments()?;
        let mut page = HistoryPage::default();
        let Some(place) = firsts.iter().rposition(|first| *first < before) else { return Ok(page) };
        let first = firsts[place];
        let is_recent = |entry: &HistoryEntry| *entry.time >= *since;
        let mut any_recent = false;
        let text = self.read(first)?;
        for line in text.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
            let Ok(entry) = serde_json::from_slice::<HistoryEntry>(line) else {
                page.damaged += 1;
                continue;
            };
            if entry.number >= before {
                continue;
            }
            any_recent |= is_recent(&entry);
            if is_recent(&entry) && wanted(&entry) {
                if page.entries.len() == limit {
                    page.before = page.entries.last().map(|last| last.number);
                    return Ok(page);
                }
                page.entries.push(entry);
            }
        }
        // Entries of a file have similar times, even if the clock was set back a little.
        page.before = (place > 0 && (any_recent || since.is_empty())).then_some(first);
        Ok(page)
    }

    /// Returns the size of all files, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let firsts = name::segments(&self.folder).unwrap_or_default();
        let length =
            |first: u64| std::fs::metadata(name::segment(&self.folder, first)).map_or(0, |file| file.len());
        firsts.into_iter().map(length).sum()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn segments(&self) -> Result<Vec<u64>, JournalError> {
        match name::segments(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|source| self.failed("listing", &self.folder, source)),
        }
    }

    /// Returns complete lines; empty if the segment was removed meanwhile.
    fn read(&self, first: u64) -> Result<Vec<u8>, JournalError> {
        let path = name::segment(&self.folder, first);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_SEGMENT).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            read => drop(read.map_err(|source| self.failed("reading", &path, source))?),
        }
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        Ok(bytes)
    }

    pub(crate) fn failed(&self, action: &'static str, path: &Path, source: std::io::Error) -> JournalError {
        JournalError { action, path: path.to_owned(), source }
    }
}

//! Forward reader of the journal from a number on: existing entries, then new ones.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};

use crate::{HistoryEntry, HistoryReader, JournalError, name};

/// Bytes read at once: longer than any line.
const PIECE: u64 = 512 << 10;

/// Position of a forward reader. It holds no file open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalCursor {
    /// Last number that was read or is missing. `None`: the oldest entry comes next.
    after: Option<u64>,
    /// First number of the file being read, and the number of bytes read.
    place: Option<(u64, u64)>,
}

/// Numbers of entries that are missing from the files: removed with the oldest file, not written, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedNumbers {
    /// First missing number.
    pub first: u64,
    /// Last missing number.
    pub last: u64,
}

/// Entries, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardPage {
    /// Numbers that are missing before the first entry.
    pub missed: Option<MissedNumbers>,
    pub entries: Vec<HistoryEntry>,
    pub damaged: u64,
}

impl JournalCursor {
    /// Starts at the oldest entry.
    #[must_use]
    pub const fn at_oldest() -> Self {
        Self { after: None, place: None }
    }

    /// Starts after this number.
    #[must_use]
    pub const fn after(number: u64) -> Self {
        Self { after: Some(number), place: None }
    }

    /// Returns the last number that was read or is missing; 0 before the first entry.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after.unwrap_or(0)
    }

    fn place_in(&self, firsts: &[u64]) -> Option<(u64, u64)> {
        if let Some(place) = self.place.filter(|(first, _)| firsts.contains(first)) {
            return Some(place);
        }
        let next = self.after.map_or(0, |after| after.saturating_add(1));
        let last_before = firsts.iter().rfind(|first| **first <= next);
        last_before.or_else(|| firsts.first()).map(|first| (*first, 0))
    }

    fn hole_before(&self, number: u64) -> Option<MissedNumbers> {
        let first = self.after?.saturating_add(1);
        (first < number).then_some(MissedNumbers { first, last: number - 1 })
    }
}

impl ForwardPage {
    const fn fits_missed_numbers(&self) -> bool {
        self.missed.is_none() && self.entries.is_empty()
    }
}

impl HistoryReader {
    /// Returns up to `limit` of the next entries that match `wanted`, and advances the cursor unless it fails. A page
    /// may be empty, and others follow while the cursor's position is below `up_to`, a number reported by the writer:
    /// later entries may be incomplete.
    pub fn forward(
        &self,
        cursor: &mut JournalCursor,
        up_to: u64,
        limit: usize,
        wanted: impl Fn(&HistoryEntry) -> bool,
    ) -> Result<ForwardPage, JournalError> {
        let mut page = ForwardPage::default();
        if cursor.position() >= up_to {
            return Ok(page);
        }
        // List the files before reading: a file with a successor is complete.
        let firsts = self.segments()?;
        let Some((first, offset)) = cursor.place_in(&firsts) else {
            reach(cursor, up_to, &mut page);
            return Ok(page);
        };
        let Piece { bytes, mut offset, is_end } = self.piece(first, offset)?;
        cursor.place = Some((first, offset));
        let mut rest = &bytes[..];
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..length], &rest[length + 1..]);
            match serde_json::from_slice::<HistoryEntry>(line) {
                Err(_) => page.damaged += u64::from(!line.is_empty()),
                // Numbers start at 1.
                Ok(HistoryEntry { number: 0, .. }) => page.damaged += 1,
                Ok(entry) if entry.number > up_to => {
                    reach(cursor, up_to, &mut page);
                    return Ok(page);
                }
                Ok(entry) if cursor.after.is_some_and(|after| entry.number <= after) => {}
                Ok(entry) => {
                    if let Some(hole) = cursor.hole_before(entry.number) {
                        if !page.fits_missed_numbers() {
                            return Ok(page);
                        }
                        page.missed = Some(hole);
                        cursor.after = Some(hole.last);
                    }
                    let is_wanted = wanted(&entry);
                    if is_wanted && page.entries.len() == limit {
                        return Ok(page);
                    }
                    cursor.after = Some(entry.number);
                    page.entries.extend(is_wanted.then_some(entry));
                }
            }
            offset += length as u64 + 1;
            cursor.place = Some((first, offset));
            rest = behind;
        }
        let next = firsts.iter().find(|other| **other > first);
        match (is_end, next) {
            (false, _) if rest.len() as u64 == PIECE => {
                page.damaged += 1;
                cursor.place = Some((first, offset + PIECE));
            }
            (false, _) => {}
            (true, Some(next)) => {
                page.damaged += u64::from(!rest.is_empty());
                cursor.place = Some((*next, 0));
            }
            (true, None) => reach(cursor, up_to, &mut page),
        }
        Ok(page)
    }

    fn piece(&self, first: u64, offset: u64) -> Result<Piece, JournalError> {
        let path = name::segment(self.folder(), first);
        match read_piece(&path, offset) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Piece { bytes: Vec::new(), offset, is_end: true })
            }
            read => read.map_err(|source| self.failed("reading", &path, source)),
        }
    }
}

/// Reports absent numbers up to `up_to` as missing, on a page where no entry precedes them.
fn reach(cursor: &mut JournalCursor, up_to: u64, page: &mut ForwardPage) {
    let hole = cursor.hole_before(up_to.saturating_add(1));
    if hole.is_none() || page.fits_missed_numbers() {
        page.missed = page.missed.or(hole);
        cursor.after = Some(cursor.position().max(up_to));
    }
}

struct Piece {
    bytes: Vec<u8>,
    offset: u64,
    is_end: bool,
}

fn read_piece(path: &std::path::Path, offset: u64) -> io::Result<Piece> {
    let mut file = File::open(path)?;
    // A file that became shorter is read from its beginning: known entries are skipped by number.
    let offset = if file.metadata()?.len() < offset { 0 } else { offset };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    let is_end = (bytes.len() as u64) < PIECE;
    Ok(Piece { bytes, offset, is_end })
}

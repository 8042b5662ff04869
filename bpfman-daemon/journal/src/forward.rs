//! Reading the journal forward, from a number on: first what is there, then what comes.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};

use crate::{HistoryEntry, HistoryReader, JournalError, name};

/// Bytes of a file that are read at once: longer than any line.
const PIECE: u64 = 512 << 10;

/// Where a reader is that goes forward. It holds no file open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalCursor {
    /// All up to this number was read, or is known to be missing. None: the oldest entry that is kept comes next.
    after: Option<u64>,
    /// The file that is read, by its first number, and the bytes of it that were read.
    place: Option<(u64, u64)>,
}

/// Numbers of entries that are not in the files: they were removed with the oldest file, could not be written, or are
/// damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedNumbers {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// Entries, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardPage {
    /// What is missing in front of the entries.
    pub missed: Option<MissedNumbers>,
    /// Those that were asked for.
    pub entries: Vec<HistoryEntry>,
    /// Lines that are no entries: damaged on disk.
    pub damaged: u64,
}

impl JournalCursor {
    /// The next entry is the oldest that is kept.
    #[must_use]
    pub const fn at_oldest() -> Self {
        Self { after: None, place: None }
    }

    /// The next entry is the one after this number.
    #[must_use]
    pub const fn after(number: u64) -> Self {
        Self { after: Some(number), place: None }
    }

    /// All up to this number was read, or is missing; 0 before the first entry.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after.unwrap_or(0)
    }

    /// The file to go on with, and how far it was read.
    fn place_in(&self, firsts: &[u64]) -> Option<(u64, u64)> {
        if let Some(place) = self.place.filter(|(first, _)| firsts.contains(first)) {
            return Some(place);
        }
        let next = self.after.map_or(0, |after| after.saturating_add(1));
        let last_before = firsts.iter().rfind(|first| **first <= next);
        last_before.or_else(|| firsts.first()).map(|first| (*first, 0))
    }

    /// The numbers between what was read and this one, if there are any.
    fn hole_before(&self, number: u64) -> Option<MissedNumbers> {
        let first = self.after?.saturating_add(1);
        (first < number).then_some(MissedNumbers { first, last: number - 1 })
    }
}

impl ForwardPage {
    const fn has_room_for_hole(&self) -> bool {
        self.missed.is_none() && self.entries.is_empty()
    }
}

impl HistoryReader {
    /// Up to `limit` of the next entries that are `wanted`, and moves the cursor behind them. It reads a piece of one file: a
    /// page may be empty, and others follow as long as the cursor's position is below `up_to`, a number that the writer told.
    /// Of what is behind that, nothing is read: it may be half written.
    ///
    /// # Errors
    /// The files cannot be read. The cursor has not moved.
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
        // Before the file is read: one that has a successor by now is whole.
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
                // No entry has it: numbers begin with 1.
                Ok(HistoryEntry { number: 0, .. }) => page.damaged += 1,
                Ok(entry) if entry.number > up_to => {
                    reach(cursor, up_to, &mut page);
                    return Ok(page);
                }
                Ok(entry) if cursor.after.is_some_and(|after| entry.number <= after) => {}
                Ok(entry) => {
                    if let Some(hole) = cursor.hole_before(entry.number) {
                        if !page.has_room_for_hole() {
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
            // A line longer than any.
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
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Piece { bytes: Vec::new(), offset, is_end: true })
            }
            read => read.map_err(|source| self.failed("reading", &path, source)),
        }
    }
}

/// All that the files have up to this number was read: what did not come is missing. Told with nothing in front of it.
fn reach(cursor: &mut JournalCursor, up_to: u64, page: &mut ForwardPage) {
    let hole = cursor.hole_before(up_to.saturating_add(1));
    if hole.is_none() || page.has_room_for_hole() {
        page.missed = page.missed.or(hole);
        cursor.after = Some(cursor.position().max(up_to));
    }
}

/// A part of a file.
struct Piece {
    bytes: Vec<u8>,
    /// Where it begins.
    offset: u64,
    /// There is no more now.
    is_end: bool,
}

fn read_piece(path: &std::path::Path, offset: u64) -> io::Result<Piece> {
    let mut file = File::open(path)?;
    // What became shorter is read anew: entries that were read are passed over by their numbers.
    let offset = if file.metadata()?.len() < offset { 0 } else { offset };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    let is_end = (bytes.len() as u64) < PIECE;
    Ok(Piece { bytes, offset, is_end })
}

//! Opening a segment that somebody may have been killed over.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::HistoryEntry;

/// A segment that is written to.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub file: File,
    /// Bytes.
    pub length: u64,
    /// Lines.
    pub entries: u64,
}

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub segment: OpenSegment,
    /// The number after the last one in it.
    pub next: u64,
    /// Bytes at its end that were no entry, and are gone.
    pub cut: u64,
}

/// Makes a new segment.
pub(crate) fn make(path: &Path) -> io::Result<OpenSegment> {
    let file = options().create_new(true).open(path)?;
    Ok(OpenSegment { file, length: 0, entries: 0 })
}

/// Opens the last segment. What follows its last whole entry is cut: a writer was killed over it, or power was lost.
pub(crate) fn last(path: &Path, first: u64, at_most: u64) -> io::Result<Found> {
    let mut file = options().open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    // No segment of ours is longer: what somebody else made of it is not to take all memory.
    file.by_ref().take(at_most).read_to_end(&mut bytes)?;
    let (kept, next) = whole(&bytes, first);
    if kept < length {
        file.set_len(kept)?;
        file.sync_data()?;
    }
    let kept_bytes = bytes.get(..usize::try_from(kept).unwrap_or(0)).unwrap_or_default();
    let entries = kept_bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let segment = OpenSegment { file, length: kept, entries };
    Ok(Found { segment, next, cut: length - kept })
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Bytes up to the end of the last whole entry, and the number after it.
fn whole(bytes: &[u8], first: u64) -> (u64, u64) {
    let mut end = bytes.len();
    while let Some(line_end) = bytes[..end].iter().rposition(|byte| *byte == b'\n') {
        let begin = bytes[..line_end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
        if let Ok(entry) = serde_json::from_slice::<HistoryEntry>(&bytes[begin..line_end]) {
            return (line_end as u64 + 1, entry.number.saturating_add(1).max(first));
        }
        end = begin;
    }
    (0, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_entry_at_the_end_is_cut_and_no_more() {
        let line = |number| HistoryEntry { number, ..HistoryEntry::default() }.line();
        let good = line(4) + &line(5);
        let length = good.len() as u64;
        assert_eq!(whole(good.as_bytes(), 4), (length, 6));
        // Killed within a line; blocks of zeros, as power loss leaves them; a line that was overwritten.
        for rest in [&line(6)[..10], "\0\0\0\0", "\0\0\n\0\n", "{}garbage\n", line(6).trim_end()] {
            assert_eq!(whole(format!("{good}{rest}").as_bytes(), 4), (length, 6), "{rest:?}");
        }
        assert_eq!(whole(b"", 9), (0, 9));
        assert_eq!(whole(b"half", 9), (0, 9));
    }
}

//! Opening of a segment that may end in an incomplete line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::HistoryEntry;

#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub file: File,
    pub length: u64,
    pub entries: u64,
}

#[derive(Debug)]
pub(crate) struct Found {
    pub segment: OpenSegment,
    pub next: u64,
    pub cut: u64,
}

pub(crate) fn make(path: &Path) -> io::Result<OpenSegment> {
    let file = options().create_new(true).open(path)?;
    Ok(OpenSegment { file, length: 0, entries: 0 })
}

/// Cuts bytes after the last complete entry: a writer was killed, or power was lost.
pub(crate) fn last(path: &Path, first: u64, at_most: u64) -> io::Result<Found> {
    let mut file = options().open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    // A file that another program made larger must not take all memory.
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
    fn only_incomplete_entries_at_the_end_are_cut() {
        let line = |number| HistoryEntry { number, ..HistoryEntry::default() }.line();
        let good = line(4) + &line(5);
        let length = good.len() as u64;
        assert_eq!(whole(good.as_bytes(), 4), (length, 6));
        // An incomplete line; blocks of zeros after power loss; an overwritten line.
        for rest in [&line(6)[..10], "\0\0\0\0", "\0\0\n\0\n", "{}garbage\n", line(6).trim_end()] {
            assert_eq!(whole(format!("{good}{rest}").as_bytes(), 4), (length, 6), "{rest:?}");
        }
        assert_eq!(whole(b"", 9), (0, 9));
        assert_eq!(whole(b"half", 9), (0, 9));
    }
}

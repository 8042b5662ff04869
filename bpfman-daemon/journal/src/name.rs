//! Names of segments: the first number in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file of the segment that begins with this number.
pub(crate) fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.jsonl"))
}

/// First numbers of the segments of a folder, in order. Files of other names are nobody's.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        found.extend(first.filter(|name| name.len() == 20).and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

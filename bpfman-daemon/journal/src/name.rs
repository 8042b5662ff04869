//! File names of segments: their first number.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) fn segment(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.jsonl"))
}

/// Returns the first numbers of all segments, in order. Other files are ignored.
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

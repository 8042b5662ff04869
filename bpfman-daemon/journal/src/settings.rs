//! Location and limits of the journal.

use std::io;
use std::path::{Path, PathBuf};

/// Number of files into which the journal is divided, because the oldest entries are removed as a whole file.
pub(crate) const SEGMENTS: u64 = 8;

const ACCESSES: u64 = 8;

pub(crate) fn accesses(journal: &Path) -> PathBuf {
    journal.join("accesses")
}

/// Location and limits of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Folder, created with mode 0700 if it is missing.
    pub folder: PathBuf,
    /// Maximum size of all files, in bytes.
    pub bytes: u64,
    pub entries: u64,
    /// Durability of entries.
    pub sync: JournalSync,
    /// Socket of journald, which gets entries instead of the log.
    pub journald: Option<PathBuf>,
}

/// Durability of an entry at the time of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalSync {
    /// Written to the file: it survives the end of the daemon, but not a power loss within about 30 s.
    #[default]
    Kernel,
    /// Synced to disk.
    Disk,
}

impl JournalSettings {
    /// Returns the default settings: 16 MiB, 50,000 entries.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, bytes: 16 << 20, entries: 50_000, sync: JournalSync::default(), journald: None }
    }

    pub(crate) fn of_accesses(&self) -> Self {
        let folder = accesses(&self.folder);
        Self { folder, bytes: self.bytes / ACCESSES, entries: self.entries / ACCESSES, ..self.clone() }
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.bytes / SEGMENTS).max(4096)
    }

    pub(crate) fn segment_entries(&self) -> u64 {
        (self.entries / SEGMENTS).max(1)
    }
}

/// Error: the journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {action} {}: {source}", path.display())]
pub struct JournalError {
    pub action: &'static str,
    /// File or folder.
    pub path: PathBuf,
    pub source: io::Error,
}

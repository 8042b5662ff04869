//! Where the journal is, and how large it may be.

use std::io;
use std::path::{Path, PathBuf};

/// Files that the journal is kept in. The oldest goes as a whole.
pub(crate) const SEGMENTS: u64 = 8;

/// Share of the journal that accesses may have beside it.
const ACCESSES: u64 = 8;

/// The folder of accesses in the journal's.
pub(crate) fn accesses(journal: &Path) -> PathBuf {
    journal.join("accesses")
}

/// Where the journal is, and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Its folder, made with mode 0700 unless it is there.
    pub folder: PathBuf,
    /// Most bytes of all its files.
    pub bytes: u64,
    /// Most entries.
    pub entries: u64,
    /// When it is on disk.
    pub sync: JournalSync,
    /// The socket of journald, where entries go instead of the log.
    pub journald: Option<PathBuf>,
}

/// When an entry is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalSync {
    /// In the file before the answer: it survives the end of the daemon. The kernel writes it to the disk within about 30 s:
    /// after power loss the last entries may be missing.
    #[default]
    Kernel,
    /// On the disk before the answer.
    Disk,
}

impl JournalSettings {
    /// 16 MiB, 50,000 entries.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, bytes: 16 << 20, entries: 50_000, sync: JournalSync::default(), journald: None }
    }

    /// The same for the accesses, which have a folder and bounds of their own beside the changes.
    pub(crate) fn of_accesses(&self) -> Self {
        let folder = accesses(&self.folder);
        Self { folder, bytes: self.bytes / ACCESSES, entries: self.entries / ACCESSES, ..self.clone() }
    }

    /// Most bytes of one segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.bytes / SEGMENTS).max(4096)
    }

    /// Most entries of one segment.
    pub(crate) fn segment_entries(&self) -> u64 {
        (self.entries / SEGMENTS).max(1)
    }
}

/// The journal cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be read: {action} {}: {source}", path.display())]
pub struct JournalError {
    /// What was tried.
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

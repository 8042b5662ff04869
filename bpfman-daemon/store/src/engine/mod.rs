//! What the store asks of a database: an ordered map of bytes with one atomic, durable write.

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod pieces;
pub(crate) mod redb_engine;
pub(crate) mod sled_engine;

/// One change of a commit: the key, and its new value or `None` to delete it.
pub type EngineWrite = (Vec<u8>, Option<Vec<u8>>);

/// What a scan calls for each entry, in key order; `Break` ends the scan early.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered map of bytes on disk. One owner calls it, so it needs no locking of its own.
///
/// After any error of [`commit`](StorageEngine::commit) the owner drops the engine and opens it anew: what is on disk is
/// then unknown until it has been read back.
pub trait StorageEngine: Send {
    /// The value of one key.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Visits every entry with `from <= key < until`, in byte order.
    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// Applies all changes or none of them. When it returns `Ok` they are on the disk, not only handed to the kernel.
    /// A key occurs at most once.
    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError>;
}

/// The engines to choose from: `[store] engine = "…"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// redb: one file, no threads of its own, one `fdatasync` per commit.
    #[default]
    Redb,
    /// sled 0.34: a folder, about ten threads of its own; the second engine.
    Sled,
}

impl EngineKind {
    /// Every engine.
    pub const ALL: [EngineKind; 2] = [EngineKind::Redb, EngineKind::Sled];

    /// The name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            EngineKind::Redb => "redb",
            EngineKind::Sled => "sled",
        }
    }

    /// The file or folder this engine keeps its records in.
    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            EngineKind::Redb => "records.redb",
            EngineKind::Sled => "records.sled",
        })
    }

    /// Opens the database in `folder`, creating it when it is not there.
    pub(crate) fn open(self, folder: &Path) -> Result<Box<dyn StorageEngine>, StorageError> {
        let path = self.path(folder);
        Ok(match self {
            EngineKind::Redb => Box::new(redb_engine::RedbEngine::open(&path)?),
            EngineKind::Sled => Box::new(sled_engine::SledEngine::open(&path)?),
        })
    }

    /// Whether losing the last moments of the number kept outside could hide lost records. sled gives up the end of
    /// its log without a word, so there the number is synced with every commit; redb is caught without.
    pub(crate) fn number_must_be_synced(self) -> bool {
        matches!(self, EngineKind::Sled)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        EngineKind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

/// A name that is no engine's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("unknown store engine {0:?}: it is \"redb\" or \"sled\"")]
pub struct UnknownEngine(pub String);

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as in "syncing".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The files do not hold a whole, consistent database.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The database library panicked; its state in memory is not used any further.
    #[error("{doing} {}: the database library panicked: {message}", path.display())]
    Panicked {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The panic's own words.
        message: String,
    },
    /// Another process has the database open.
    #[error("{} is open in another process", path.display())]
    InUse {
        /// The file or folder.
        path: PathBuf,
    },
    /// The library refused for a reason of its own.
    #[error("{doing} {}: {why}", path.display())]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        why: String,
    },
}

impl StorageError {
    /// For `map_err`: an I/O error with what was done to which path.
    pub(crate) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
        move |source| StorageError::Io { doing, path: path.to_owned(), source }
    }

    /// Whether the disk (or the quota) is full.
    pub fn is_disk_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, StorageError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// The operating system's error number, where there is one.
    pub fn os_error(&self) -> Option<i32> {
        match self {
            StorageError::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Runs `work`, turning a panic of the database library into an error. Damaged files make both libraries panic in
/// places; the daemon must answer with the name of the file instead of dying.
pub(crate) fn caught<T>(
    doing: &'static str,
    path: &Path,
    work: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    // What `work` touches is dropped, not used again, once it has panicked: every owner closes its engine on error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(StorageError::Panicked { doing, path: path.to_owned(), message: panic_text(&*panic) })
    })
}

/// The words of a panic, where they are words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

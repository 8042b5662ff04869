//! Storage engines: an ordered map of bytes with one atomic, durable write.

use std::any::Any;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

mod pieces;
pub(crate) mod redb_engine;
pub(crate) mod sled_engine;

/// Change of a commit: the key, and its new value or `None` to delete it.
pub type EngineWrite = (Vec<u8>, Option<Vec<u8>>);

/// Callback of a scan for each entry, in key order; `Break` ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered map of bytes on disk with a single caller. After any error of [`commit`](StorageEngine::commit), the
/// contents on disk are unknown: the owner opens the engine again.
pub trait StorageEngine: Send {
    /// Returns the value of a key.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Visits every entry with `from <= key < until`, in byte order.
    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError>;

    /// Applies all changes or none; on `Ok` they are on the disk. A key occurs at most once.
    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError>;
}

/// Available engines: `[store] engine = "…"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// redb: one file, no threads of its own, one `fdatasync` per commit.
    #[default]
    Redb,
    /// sled 0.34: a folder, about ten threads of its own; the alternative engine.
    Sled,
}

impl EngineKind {
    pub const ALL: [EngineKind; 2] = [EngineKind::Redb, EngineKind::Sled];

    /// Returns the name in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            EngineKind::Redb => "redb",
            EngineKind::Sled => "sled",
        }
    }

    pub(crate) fn path(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            EngineKind::Redb => "records.redb",
            EngineKind::Sled => "records.sled",
        })
    }

    pub(crate) fn open(self, folder: &Path) -> Result<Box<dyn StorageEngine>, StorageError> {
        let path = self.path(folder);
        Ok(match self {
            EngineKind::Redb => Box::new(redb_engine::RedbEngine::open(&path)?),
            EngineKind::Sled => Box::new(sled_engine::SledEngine::open(&path)?),
        })
    }

    /// Returns whether the number must be synced with every commit: sled silently discards the end of its log.
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

/// Error: the name is not an engine's.
#[derive(Clone, Debug, thiserror::Error)]
#[error("unknown store engine {0:?}: it is \"redb\" or \"sled\"")]
pub struct UnknownEngine(pub String);

/// Error of an engine.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system reported an error.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// File or folder.
        path: PathBuf,
        why: String,
    },
    /// The database library panicked; its state in memory is discarded.
    #[error("{doing} {}: the database library panicked: {message}", path.display())]
    Panicked {
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        message: String,
    },
    #[error("{} is open in another process", path.display())]
    InUse {
        /// File or folder.
        path: PathBuf,
    },
    /// The library reported another error.
    #[error("{doing} {}: {why}", path.display())]
    Refused {
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        why: String,
    },
}

/// Creates an empty file, which is renamed once it is complete.
pub(crate) fn create_building(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(StorageError::io("creating", path))
}

impl StorageError {
    pub(crate) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StorageError + 'a {
        move |source| StorageError::Io { doing, path: path.to_owned(), source }
    }
}

/// Converts a panic of the database library into an error: damaged files make both libraries panic in places.
pub(crate) fn caught<T>(
    doing: &'static str,
    path: &Path,
    work: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    // After a panic, every owner closes its engine.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(StorageError::Panicked { doing, path: path.to_owned(), message: panic_text(&*panic) })
    })
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}

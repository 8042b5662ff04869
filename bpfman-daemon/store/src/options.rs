//! How a store is opened.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::engine::{EngineKind, StorageEngine, StorageError};
use crate::{Batch, Snapshot};

/// Journal entries kept unless told otherwise.
pub const DEFAULT_JOURNAL_LIMIT: u64 = 10_000;

/// Why a step refuses what it reads: whatever error it has.
pub type MigrationError = Box<dyn Error + Send + Sync>;

/// One step of the records' meaning: from version `from` to `from + 1`, in one commit.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version it reads.
    pub from: u32,
    /// Writes what changes into the batch; an `Err` leaves the store as it was.
    pub run: fn(&Snapshot, &mut Batch) -> Result<(), MigrationError>,
}

/// Opens the engine; called again whenever a failed commit made what is on disk unknown.
pub(crate) type OpenEngine = Box<dyn FnMut() -> Result<Box<dyn StorageEngine>, StorageError> + Send>;

/// Where and how to open a store.
pub struct StoreOptions {
    pub(crate) folder: PathBuf,
    pub(crate) engine: EngineKind,
    pub(crate) open: Option<OpenEngine>,
    pub(crate) schema: u32,
    pub(crate) migrations: &'static [Migration],
    pub(crate) journal_limit: u64,
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("folder", &self.folder)
            .field("engine", &self.engine)
            .field("schema", &self.schema)
            .field("journal_limit", &self.journal_limit)
            .finish_non_exhaustive()
    }
}

impl StoreOptions {
    /// A store in `folder` (made when missing), records of version `schema`, on redb.
    pub fn new(folder: impl Into<PathBuf>, schema: u32) -> StoreOptions {
        StoreOptions {
            folder: folder.into(),
            engine: EngineKind::default(),
            open: None,
            schema,
            migrations: &[],
            journal_limit: DEFAULT_JOURNAL_LIMIT,
        }
    }

    /// Chooses the engine.
    pub fn engine(mut self, engine: EngineKind) -> StoreOptions {
        self.engine = engine;
        self
    }

    /// Replaces the engine by one of the caller's own, such as one on a simulated disk.
    pub fn engine_from(
        mut self,
        open: impl FnMut() -> Result<Box<dyn StorageEngine>, StorageError> + Send + 'static,
    ) -> StoreOptions {
        self.open = Some(Box::new(open));
        self
    }

    /// The steps from older versions to this one. A version without a step is refused.
    pub fn migrations(mut self, migrations: &'static [Migration]) -> StoreOptions {
        self.migrations = migrations;
        self
    }

    /// How many journal entries to keep; at least 1.
    pub fn journal_limit(mut self, entries: u64) -> StoreOptions {
        self.journal_limit = entries.max(1);
        self
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

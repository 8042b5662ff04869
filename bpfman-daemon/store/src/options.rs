use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::engine::{EngineKind, StorageEngine, StorageError};
use crate::{Batch, Snapshot};

/// Default number of journal entries to keep.
pub const DEFAULT_JOURNAL_LIMIT: u64 = 10_000;

pub type MigrationError = Box<dyn Error + Send + Sync>;

/// Schema migration from version `from` to `from + 1`, in one commit.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Schema version before the migration.
    pub from: u32,
    /// Adds the changes to the batch; an `Err` leaves the store unchanged.
    pub run: fn(&Snapshot, &mut Batch) -> Result<(), MigrationError>,
}

/// Function that opens the engine, also again when a failed commit made the contents on disk unknown.
pub(crate) type OpenEngine = Box<dyn FnMut() -> Result<Box<dyn StorageEngine>, StorageError> + Send>;

/// Location and settings of a store.
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
    /// Creates options for a store in `folder` (created if missing), with records of version `schema`, on redb.
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

    pub fn engine(mut self, engine: EngineKind) -> StoreOptions {
        self.engine = engine;
        self
    }

    /// Replaces the engine by a custom one, such as one on a simulated disk.
    pub fn engine_from(
        mut self,
        open: impl FnMut() -> Result<Box<dyn StorageEngine>, StorageError> + Send + 'static,
    ) -> StoreOptions {
        self.open = Some(Box::new(open));
        self
    }

    /// Sets the migrations from older versions to this one. A version without a migration is refused.
    pub fn migrations(mut self, migrations: &'static [Migration]) -> StoreOptions {
        self.migrations = migrations;
        self
    }

    /// Sets the number of journal entries to keep; at least 1.
    pub fn journal_limit(mut self, entries: u64) -> StoreOptions {
        self.journal_limit = entries.max(1);
        self
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

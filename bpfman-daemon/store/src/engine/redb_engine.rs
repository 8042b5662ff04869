//! redb: one file, copy-on-write pages, one `fdatasync` per commit.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, StorageBackend, TableDefinition, TableError,
};

use super::{EngineWrite, StorageEngine, StorageError, Visit, caught, create_building};
use crate::durable;

/// A single tree for all tables: a batch over several of them dirties the fewest pages.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

/// Bytes. The working set of a node is a few MiB at most and is read once, at start.
const CACHE: usize = 512 * 1024;

pub struct RedbEngine {
    db: Option<Database>,
    path: PathBuf,
}

impl fmt::Debug for RedbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbEngine").field("path", &self.path).finish()
    }
}

impl RedbEngine {
    /// Opens the file at `path`; if it does not exist, creates it, complete and synced. Its folder must exist.
    pub fn open(path: &Path) -> Result<RedbEngine, StorageError> {
        if !path.try_exists().map_err(StorageError::io("looking for", path))? {
            Self::create(path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(StorageError::io("opening", path))?;
        // The library would create a new database in an empty file. Ours are renamed into place when complete.
        if file.metadata().map_err(StorageError::io("reading the size of", path))?.len() == 0 {
            return Err(StorageError::Damaged { path: path.to_owned(), why: "the file is empty".into() });
        }
        Self::checked(path, || redb::Builder::new().set_cache_size(CACHE).create_file(file))
    }

    /// Opens a database on custom storage, such as a simulated disk; `name` replaces the path in errors.
    pub fn on_backend(name: &Path, backend: impl StorageBackend) -> Result<RedbEngine, StorageError> {
        Self::checked(name, || redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend))
    }

    /// Renames a complete file into place: a crash may interrupt the library's first writes.
    fn create(path: &Path) -> Result<(), StorageError> {
        let building = path.with_extension("redb.new");
        let file = create_building(&building)?;
        let mut new =
            Self::checked(&building, || redb::Builder::new().set_cache_size(CACHE).create_file(file))?;
        new.commit(&[])?;
        drop(new);
        File::open(&building)
            .and_then(|file| file.sync_all())
            .map_err(StorageError::io("syncing", &building))?;
        durable::rename(&building, path)
    }

    fn checked(
        path: &Path,
        open: impl FnOnce() -> Result<Database, DatabaseError>,
    ) -> Result<RedbEngine, StorageError> {
        let db = caught("opening", path, || {
            let mut db = open().map_err(|error| refused("opening", path, error.into()))?;
            // Opening does not read all pages; damage would surface later, or never.
            match db.check_integrity() {
                Ok(true) => {}
                // The ledger checks the records themselves.
                Ok(false) => {
                    tracing::warn!(path = %path.display(), "the store's free-space records were rebuilt")
                }
                Err(error) => return Err(refused("checking", path, error.into())),
            }
            Ok(db)
        })?;
        Ok(RedbEngine { db: Some(db), path: path.to_owned() })
    }

    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        caught(doing, &self.path, || match &self.db {
            Some(db) => work(db).map_err(|error| refused(doing, &self.path, error)),
            None => Err(StorageError::Refused { doing, path: self.path.clone(), why: "it is closed".into() }),
        })
    }
}

impl StorageEngine for RedbEngine {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.with("reading", |db| match db.begin_read()?.open_table(ENTRIES) {
            Ok(entries) => Ok(entries.get(key)?.map(|value| value.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        self.with("reading", |db| {
            let entries = match db.begin_read()?.open_table(ENTRIES) {
                Ok(entries) => entries,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for entry in entries.range(from..until)? {
                let (key, value) = entry?;
                if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError> {
        self.with("committing to", |db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => drop(entries.insert(key.as_slice(), value.as_slice())?),
                        None => drop(entries.remove(key.as_slice())?),
                    }
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        let db = self.db.take();
        // On damaged or failing storage the library may panic while it closes.
        let closed = caught("closing", &self.path, || {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the store was not closed cleanly; the next start checks and repairs it");
        }
    }
}

fn refused(doing: &'static str, path: &Path, error: redb::Error) -> StorageError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::Damaged { path, why: source.to_string() }
        }
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            StorageError::Damaged { path, why: "the file is shorter than its own records say".into() }
        }
        redb::Error::Io(source) => StorageError::Io { doing, path, source },
        redb::Error::Corrupted(why) => StorageError::Damaged { path, why },
        redb::Error::DatabaseAlreadyOpen => StorageError::InUse { path },
        other => StorageError::Refused { doing, path, why: other.to_string() },
    }
}

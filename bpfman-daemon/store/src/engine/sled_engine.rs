//! sled 0.34: a log-structured folder. Its `flush` does not wait for the disk: durability is added here.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::pieces::{self, Joining, UnexpectedPiece};
use super::{EngineWrite, StorageEngine, StorageError, Visit, caught};
use crate::durable;

const CACHE: u64 = 1024 * 1024;

const CLOSING: Duration = Duration::from_secs(2);

pub struct SledEngine {
    db: Option<sled::Db>,
    /// Descriptor to sync the log: the kernel syncs a file by any of its descriptors.
    log: File,
    path: PathBuf,
}

impl fmt::Debug for SledEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledEngine").field("path", &self.path).finish()
    }
}

impl SledEngine {
    /// Opens the folder at `path`; if it does not exist, creates it, complete and synced. Its parent must exist.
    pub fn open(path: &Path) -> Result<SledEngine, StorageError> {
        if !path.try_exists().map_err(StorageError::io("looking for", path))? {
            Self::create(path)?;
        }
        // sled starts an empty database if a file is missing. Our folders always have both.
        for name in ["conf", "db"] {
            if !path.join(name).is_file() {
                return Err(StorageError::Damaged {
                    path: path.to_owned(),
                    why: format!("its file {name} is missing"),
                });
            }
        }
        Self::open_folder(path)
    }

    fn create(path: &Path) -> Result<(), StorageError> {
        let building = path.with_extension("sled.new");
        if building.exists() {
            fs::remove_dir_all(&building).map_err(StorageError::io("removing", &building))?;
        }
        durable::make_folder(&building)?;
        drop(Self::open_folder(&building)?);
        durable::sync_all_below(&building)?;
        durable::rename(&building, path)
    }

    fn open_folder(path: &Path) -> Result<SledEngine, StorageError> {
        remove_unfinished_snapshots(path)?;
        let db = open_database(path)?;
        let log_path = path.join("db");
        let log = File::open(&log_path).map_err(StorageError::io("opening", &log_path))?;
        let engine = SledEngine { db: Some(db), log, path: path.to_owned() };
        // Recovery truncates, zeroes and renames without syncing everything; later commits rely on the result.
        durable::sync_all_below(path)?;
        Ok(engine)
    }

    /// sled's threads may hold the log's lock a moment longer than the handle, and a child process until its exec:
    /// reopening at once would be refused.
    fn wait_until_unlocked(&self) {
        let deadline = Instant::now() + CLOSING;
        while let Err(TryLockError::WouldBlock) = self.log.try_lock() {
            if Instant::now() > deadline {
                tracing::warn!(path = %self.path.display(), "sled still holds its log after closing");
                return;
            }
            thread::sleep(Duration::from_micros(200));
        }
        // Unlock explicitly: a child process before its exec would keep the lock.
        if let Err(error) = self.log.unlock() {
            tracing::warn!(%error, path = %self.path.display(), "the log's lock stays until this process ends");
        }
    }

    fn out_of_place(&self, UnexpectedPiece: UnexpectedPiece) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), why: "a value is not whole".into() }
    }

    fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, StorageError> {
        caught(doing, &self.path, || match &self.db {
            Some(db) => work(db).map_err(|error| refused(doing, &self.path, error)),
            None => Err(StorageError::Refused { doing, path: self.path.clone(), why: "it is closed".into() }),
        })
    }
}

impl StorageEngine for SledEngine {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let pieces =
            self.with("reading", |db| db.scan_prefix(pieces::prefix(key)).collect::<sled::Result<Vec<_>>>())?;
        let mut joining = Joining::default();
        for (key, piece) in pieces {
            joining.push(&key, &piece).map_err(|wrong| self.out_of_place(wrong))?;
        }
        let entry = joining.finish().map_err(|wrong| self.out_of_place(wrong))?;
        Ok(entry.map(|(_, value)| value))
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let mut range = self.with("reading", |db| Ok(db.range(pieces::bound(from)..pieces::bound(until))))?;
        let mut joining = Joining::default();
        while let Some((key, piece)) = self.with("reading", |_| range.next().transpose())? {
            let complete = joining.push(&key, &piece).map_err(|wrong| self.out_of_place(wrong))?;
            if let Some((key, value)) = complete
                && let ControlFlow::Break(()) = visit(&key, &value)
            {
                return Ok(());
            }
        }
        if let Some((key, value)) = joining.finish().map_err(|wrong| self.out_of_place(wrong))? {
            let _last = visit(&key, &value);
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError> {
        self.with("committing to", |db| {
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                let prefix = pieces::prefix(key);
                // A shorter value must not keep the last pieces of the previous one.
                for old in db.scan_prefix(&prefix).keys() {
                    batch.remove(old?);
                }
                for (index, piece) in (0..).zip(value.iter().flat_map(|value| pieces::pieces(value))) {
                    batch.insert(pieces::piece_key(&prefix, index), piece);
                }
            }
            db.apply_batch(batch)?;
            db.flush()?;
            Ok(())
        })?;
        self.log.sync_data().map_err(StorageError::io("syncing", &self.path.join("db")))
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        let db = self.db.take();
        let closed = caught("closing", &self.path, || {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the store was not closed cleanly; the next start checks it");
        }
        self.wait_until_unlocked();
    }
}

pub(crate) fn open_database(path: &Path) -> Result<sled::Db, StorageError> {
    caught("opening", path, || {
        sled::Config::new()
            .path(path)
            .cache_capacity(CACHE)
            // sled's timer would flush in the background and only log errors.
            .flush_every_ms(None)
            .open()
            .map_err(|error| match error {
                // sled has no error kind for a lock held by another process.
                sled::Error::Io(_) if is_locked(path) => StorageError::InUse { path: path.to_owned() },
                error => refused("opening", path, error),
            })
    })
}

/// After a crash, sled takes a truncated snapshot with a temporary name for a finished one and refuses to open.
fn remove_unfinished_snapshots(path: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(path).map_err(StorageError::io("listing", path))? {
        let entry = entry.map_err(StorageError::io("listing", path))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(StorageError::io("removing", &entry.path()))?;
        }
    }
    Ok(())
}

fn is_locked(path: &Path) -> bool {
    File::open(path.join("db"))
        .is_ok_and(|log| matches!(log.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(crate) fn refused(doing: &'static str, path: &Path, error: sled::Error) -> StorageError {
    let path = path.to_owned();
    match error {
        sled::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            StorageError::Damaged { path, why: "a file is shorter than its own records say".into() }
        }
        // An error that sled repeats to later callers has only its kind, and its debug form as text.
        sled::Error::Io(source) if source.raw_os_error().is_none() => {
            StorageError::Io { doing, path, source: source.kind().into() }
        }
        sled::Error::Io(source) => StorageError::Io { doing, path, source },
        sled::Error::Corruption { at, .. } => StorageError::Damaged {
            path,
            why: at
                .map_or_else(|| "its log does not add up".into(), |at| format!("its log is wrong at {at:?}")),
        },
        other => StorageError::Refused { doing, path, why: other.to_string() },
    }
}

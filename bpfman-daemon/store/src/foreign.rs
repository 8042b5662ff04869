//! Reader for the database of bpfman v0.6.0: sled with other trees.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::durable;
use crate::engine::sled_engine::{open_database, refused};
use crate::engine::{StorageError, caught};

/// Entry of a third-party database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRecord {
    /// Name of its tree. sled's unnamed tree is called `__sled__default`.
    pub tree: Vec<u8>,
    /// Key in the tree.
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Entries of a third-party database, tree by tree, in key order within each.
pub struct ForeignRecords {
    trees: Vec<(Vec<u8>, sled::Iter)>,
    // Declared after the iterators, which keep the database open.
    scratch: Scratch,
}

impl fmt::Debug for ForeignRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignRecords").field("copy", &self.scratch.0).finish_non_exhaustive()
    }
}

/// Opens a sled database, to be read once. Opening writes to it, so a temporary copy is made below `scratch`.
pub fn open_foreign_sled(source: &Path, scratch: &Path) -> Result<ForeignRecords, StorageError> {
    let log_path = source.join("db");
    let log = File::open(&log_path).map_err(StorageError::io("opening", &log_path))?;
    match log.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StorageError::InUse { path: source.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(StorageError::io("locking", &log_path)(error)),
    }
    let scratch = Scratch(scratch.join("foreign-sled"));
    scratch.remove()?;
    copy_folder(source, &scratch.0)?;
    let db = open_database(&scratch.0)?;
    let trees = caught("reading", source, || {
        let mut names = db.tree_names();
        names.sort();
        let open = |name: sled::IVec| Ok((name.to_vec(), db.open_tree(&name)?.iter()));
        names
            .into_iter()
            .map(open)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refused("reading", source, error))
    })?;
    Ok(ForeignRecords { trees, scratch })
}

impl Iterator for ForeignRecords {
    type Item = Result<ForeignRecord, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = &self.scratch.0;
        loop {
            let (tree, entries) = self.trees.first_mut()?;
            let entry = caught("reading", path, || {
                entries.next().transpose().map_err(|error| refused("reading", path, error))
            });
            match entry {
                Ok(Some((key, value))) => {
                    return Some(Ok(ForeignRecord {
                        tree: tree.clone(),
                        key: key.to_vec(),
                        value: value.to_vec(),
                    }));
                }
                Ok(None) => drop(self.trees.remove(0)),
                Err(error) => {
                    // Neither the data after a damaged page nor the iterator can be trusted.
                    self.trees.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn remove(&self) -> Result<(), StorageError> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::io("removing", &self.0)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "a copy of a foreign database stays behind");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), StorageError> {
    durable::make_folder(to)?;
    for entry in fs::read_dir(from).map_err(StorageError::io("listing", from))? {
        let path = entry.map_err(StorageError::io("listing", from))?.path();
        let Some(name) = path.file_name() else { continue };
        // Copy only sled's own files: plain files, and one folder for large values.
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else if path.is_file() && !name.to_string_lossy().ends_with(".generating") {
            fs::copy(&path, to.join(name)).map_err(StorageError::io("copying", &path))?;
        }
    }
    Ok(())
}

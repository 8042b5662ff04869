//! One daemon per state folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::engine::StorageError;
use crate::error::StoreError;

/// Holds the folder until dropped; the kernel lets go when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateFolderLock {
    held: File,
}

impl StateFolderLock {
    /// Takes the lock (flock(2), exclusive, without waiting) and writes our pid into it for whoever comes second.
    pub(crate) fn take(folder: &Path) -> Result<StateFolderLock, StoreError> {
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(StorageError::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { folder: folder.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(StorageError::io("locking", &path)(source).into()),
        }
        // A note for people. On a full disk it may fail, and the lock is held all the same.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, path = %path.display(), "the pid was not written");
        }
        Ok(StateFolderLock { held: file })
    }
}

impl Drop for StateFolderLock {
    fn drop(&mut self) {
        // Closing would not do: a process being started by another thread holds copies of all descriptors until its
        // exec, and with them the lock. Unlocking lets go whatever copies there are.
        if let Err(error) = self.held.unlock() {
            tracing::warn!(%error, "the state folder's lock stays until this process ends");
        }
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

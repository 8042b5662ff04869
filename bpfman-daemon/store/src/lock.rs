//! Lock of the state folder: one daemon per folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::engine::StorageError;
use crate::error::StoreError;

/// Held until dropped; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct StateFolderLock {
    held: File,
}

impl StateFolderLock {
    /// Locks the file (flock(2)), and writes the pid into it, for the error of a second daemon.
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
        // The pid is informational. On a full disk it may be missing.
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, path = %path.display(), "the pid was not written");
        }
        Ok(StateFolderLock { held: file })
    }
}

impl Drop for StateFolderLock {
    fn drop(&mut self) {
        // Closing would not suffice: a child process holds copies of all descriptors, and so the lock, until its exec.
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

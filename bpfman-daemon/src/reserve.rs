//! Disk space reserved for starts: after a reboot every new program id must be recorded before it is attached. A file
//! holds the space while the daemon runs; a start releases it, and allocates it again after recovery.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Size of the reserve if the disk has space, in bytes: records of several thousand programs.
const MAX_RESERVE: u64 = 16 << 20;
const MIN_RESERVE: u64 = 1 << 20;
/// Size in bytes below which a reserve is useless.
const USELESS: u64 = 1 << 17;
/// Divisor of the free space: a small disk reserves an eighth of it.
const PART: u64 = 8;

#[derive(Debug)]
pub struct Reserve {
    file: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub fn release(state: &Path) -> Self {
        let file = state.join("reserve");
        let free =
            statvfs(state).map_or(MAX_RESERVE * PART, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let kept = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        let removed = fs::remove_file(&file).and_then(|()| File::open(state)?.sync_all());
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the room that is kept for starts cannot be used");
        }
        // Reserve at least as much as before: the disk may have been filled since.
        Self { file, bytes: kept.max((free / PART).min(MAX_RESERVE)).max(MIN_RESERVE) }
    }

    pub fn keep(&self) {
        let mut bytes = self.bytes;
        let error = loop {
            match self.allocate(bytes) {
                Ok(()) => return,
                Err(_) if bytes > USELESS => bytes /= 2,
                Err(error) => break error,
            }
        };
        let _gone = fs::remove_file(&self.file);
        tracing::warn!(%error, "no room is kept on the disk for the next start: if it stays full, programs may not come back");
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&self.file)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()
    }
}

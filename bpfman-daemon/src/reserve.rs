//! Room on the disk that is kept for starts. After a reboot every program is loaded anew, and its new id has to be written
//! down before it is attached: on a disk that somebody filled, nothing would come back. So a file without contents holds
//! some blocks while the daemon runs; a start gives them free, and takes them again when everything is back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Bytes that are kept where there is room: records of some thousand programs.
const MOST: u64 = 16 << 20;
/// As much is tried for on the smallest disk.
const LEAST: u64 = 1 << 20;
/// Less than this is of no use.
const USELESS: u64 = 1 << 17;
/// On a small disk no more than this part of what is free.
const PART: u64 = 8;

/// The room that is kept.
#[derive(Debug)]
pub struct Reserve {
    file: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// Gives the room free, in the state folder.
    pub fn release(state: &Path) -> Self {
        let file = state.join("reserve");
        let free = statvfs(state).map_or(MOST * PART, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let kept = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        let removed = fs::remove_file(&file).and_then(|()| File::open(state)?.sync_all());
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the room that is kept for starts cannot be used");
        }
        // What was kept before is kept again: the disk may have been filled since.
        Self { file, bytes: kept.max((free / PART).min(MOST)).max(LEAST) }
    }

    /// Keeps it, or as much of it as there is.
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

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bpfman_image_format::Digest;

use crate::ImageError;
use crate::cache::{ImageCache, read, storage};
use crate::sink::Sink;

#[derive(Debug)]
pub(crate) struct CacheWriter {
    cache: Arc<ImageCache>,
    file: File,
    path: PathBuf,
    kept: bool,
    counted: CountedBytes,
}

#[derive(Debug)]
pub(crate) struct CountedBytes {
    all: Arc<AtomicU64>,
    bytes: u64,
    room: Option<u64>,
}

impl CountedBytes {
    pub(crate) fn new(all: Arc<AtomicU64>, room: Option<u64>) -> Self {
        Self { all, bytes: 0, room }
    }

    fn take(&mut self, bytes: u64) -> Result<(), u64> {
        let Some(room) = self.room else { return Ok(()) };
        let fits = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= room);
        self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).map_err(|_| room)?;
        self.bytes += bytes;
        Ok(())
    }

    fn give_back(&mut self) {
        self.all.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl CacheWriter {
    pub(crate) fn new(cache: Arc<ImageCache>, file: File, path: PathBuf, counted: CountedBytes) -> Self {
        Self { cache, file, path, kept: false, counted }
    }

    pub(crate) fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, ImageError> {
        Ok(read(&self.path, limit)?.unwrap_or_default())
    }

    pub(crate) fn reopen(&self) -> Result<File, ImageError> {
        File::open(&self.path).map_err(storage(&self.path))
    }

    /// Moves the file to the path of a digest, which the caller has verified.
    pub(crate) fn keep(self, digest: Digest) -> Result<(), ImageError> {
        let path = self.cache.blob_path(digest);
        self.rename(&path)
    }

    /// Syncs the file, then renames it: after a power cut, it is complete or absent.
    pub(crate) fn rename(mut self, to: &Path) -> Result<(), ImageError> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.path, to));
        renamed.map_err(storage(to))?;
        self.kept = true;
        self.cache.renamed_to(to);
        Ok(())
    }
}

impl Sink for CacheWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.counted.take(bytes.len() as u64).map_err(|limit| ImageError::NoRoom { limit })?;
        self.file.write_all(bytes).map_err(storage(&self.path))
    }

    fn restart(&mut self) -> Result<(), ImageError> {
        self.counted.give_back();
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(io::SeekFrom::Start(0)));
        emptied.map(|_| ()).map_err(storage(&self.path))
    }
}

impl Drop for CacheWriter {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: the next start removes leftover files.
            let _ = fs::remove_file(&self.path);
        }
    }
}

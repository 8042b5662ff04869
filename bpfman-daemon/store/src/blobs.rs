//! Content-addressed files: durable bytecode, and data derived from it, which is needed only until the next reboot.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::blob_id::BlobId;
use crate::error::FileError;

/// Folder of object files, each named by its digest.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
}

/// Maximum size of contents that are written ahead, in bytes: a load that is refused has then cost no more.
const MAX_AHEAD: usize = 1 << 20;
/// Stack of the thread that writes ahead, in bytes.
const AHEAD_STACK: usize = 128 << 10;

/// Contents that a thread stores.
#[derive(Debug)]
pub struct BlobAhead(JoinHandle<bool>);

impl BlobAhead {
    /// Waits for the thread, and returns whether the contents are durable.
    #[must_use]
    pub fn is_durable(self) -> bool {
        self.0.join().unwrap_or(false)
    }
}

fn fail(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError { action, path: path.clone(), source }
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    let same = || -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != bytes.len() as u64 {
            return Ok(false);
        }
        let mut piece = vec![0; bytes.len().min(64 << 10)];
        for wanted in bytes.chunks(piece.len().max(1)) {
            let read = &mut piece[..wanted.len()];
            file.read_exact(read)?;
            if read != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    };
    same().unwrap_or(false)
}

impl Blobs {
    /// Opens a folder, and creates it if it is missing.
    pub fn open(folder: PathBuf) -> Result<Self, FileError> {
        fs::create_dir_all(&folder).map_err(fail("create folder", &folder))?;
        Ok(Self { folder })
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// Stores contents durably. Existing contents are compared, and replaced if they changed on disk.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobId, FileError> {
        self.put_after(bytes, false)
    }

    /// Stores contents as [`Self::put`] does; with `are_durable`, existing ones need not be written to the disk again.
    pub fn put_after(&self, bytes: &[u8], are_durable: bool) -> Result<BlobId, FileError> {
        let id = BlobId::of(bytes);
        let path = self.path(&id);
        if !holds(&path, bytes) {
            self.write(&path, bytes, true)?;
        } else if !are_durable {
            // Another load may have renamed the file just now, and not synchronized the folder yet.
            let sync = || File::open(&path)?.sync_all().and_then(|()| File::open(&self.folder)?.sync_all());
            sync().map_err(fail("keep bytecode in", &path))?;
        }
        Ok(id)
    }

    /// Stores contents until the next reboot: they may be lost at a power loss, and [`Self::get`] then fails.
    pub fn put_for_this_boot(&self, bytes: &[u8]) -> Result<BlobId, FileError> {
        let id = BlobId::of(bytes);
        let path = self.path(&id);
        if !holds(&path, bytes) {
            self.write(&path, bytes, false)?;
        }
        Ok(id)
    }

    fn write(&self, path: &Path, bytes: &[u8], durably: bool) -> Result<(), FileError> {
        // Two loads of the same bytecode may write concurrently, each its own draft.
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = path.with_extension(format!("{}.{number}.draft", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            if durably {
                file.sync_all()?;
            }
            fs::rename(&draft, path)?;
            if durably { File::open(&self.folder)?.sync_all() } else { Ok(()) }
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&draft);
            fail("keep bytecode in", path)(source)
        })
    }

    /// Starts to store contents durably, on a thread of its own, so that a later [`Self::put_after`] finds them. `None` if they
    /// are large or a file of that name exists: nothing is gained then. The caller removes what no record needs.
    #[must_use]
    pub fn put_ahead(&self, bytes: &Arc<[u8]>) -> Option<BlobAhead> {
        if bytes.len() > MAX_AHEAD || self.path(&BlobId::of(bytes)).exists() {
            return None;
        }
        let (blobs, bytes) = (Self { folder: self.folder.clone() }, Arc::clone(bytes));
        // The later call tries again after a failure, and reports it.
        let write = move || blobs.put(&bytes).is_ok();
        let thread = std::thread::Builder::new().name("bytecode".to_owned()).stack_size(AHEAD_STACK);
        Some(BlobAhead(thread.spawn(write).ok()?))
    }

    /// Reads contents and verifies their digest.
    pub fn get(&self, id: &BlobId) -> Result<Arc<[u8]>, FileError> {
        let path = self.path(id);
        let bytes = fs::read(&path).map_err(fail("read kept bytecode", &path))?;
        if BlobId::of(&bytes) != *id {
            return Err(fail("trust kept bytecode", &path)(io::Error::new(
                io::ErrorKind::InvalidData,
                "its contents changed on disk",
            )));
        }
        Ok(bytes.into())
    }

    /// Removes contents, if they exist.
    pub fn remove(&self, id: &BlobId) {
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, blob = id.as_str(), "unneeded bytecode stays on disk");
        }
    }

    /// Removes all files except those in `wanted`, including drafts of interrupted writes.
    pub fn sweep(&self, wanted: impl Fn(&str) -> bool) -> Result<(), FileError> {
        for entry in fs::read_dir(&self.folder).map_err(fail("list", &self.folder))? {
            let entry = entry.map_err(fail("list", &self.folder))?;
            if !entry.file_name().to_str().is_some_and(&wanted) {
                fs::remove_file(entry.path()).map_err(fail("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    #[test]
    fn contents_written_ahead_are_found_by_a_later_put() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let bytes: Arc<[u8]> = b"an object"[..].into();
        let (one, other) = (blobs.put_ahead(&bytes), blobs.put_ahead(&bytes));
        assert!(one.unwrap().is_durable() && other.unwrap().is_durable());
        let id = BlobId::of(&bytes);
        assert_eq!(files(folder.path()), [id.as_str()]);
        assert!(blobs.put_ahead(&bytes).is_none(), "they are there");
        // Removed by an unload meanwhile, they are written again.
        blobs.remove(&id);
        assert_eq!(blobs.put(&bytes).unwrap(), id);
        assert_eq!(*blobs.get(&id).unwrap(), *bytes);
        let large: Arc<[u8]> = vec![0; MAX_AHEAD + 1].into();
        assert!(blobs.put_ahead(&large).is_none());
    }
}

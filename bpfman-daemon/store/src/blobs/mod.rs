//! Content-addressed files: durable bytecode, and data derived from it, which is needed only until the next reboot.

mod ahead;
mod names_in_use;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

pub use self::ahead::BlobAhead;
use self::ahead::WriterThread;
use self::names_in_use::NamesInUse;
use crate::blob_id::{Blob, BlobId};
use crate::error::FileError;

/// Maximum size of contents that are written before the load is accepted, in bytes, since it may still be refused.
const MAX_AHEAD: usize = 1 << 20;

/// Folder of object files, each named by its digest.
#[derive(Debug)]
pub struct Blobs {
    folder: Arc<BlobFolder>,
    writer: WriterThread,
}

#[derive(Debug)]
struct BlobFolder {
    path: PathBuf,
    /// Names of files in progress: a file that was renamed but not synced must not count as durable.
    writing: NamesInUse,
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

impl BlobFolder {
    fn path(&self, id: &BlobId) -> PathBuf {
        self.path.join(id.as_str())
    }

    fn put(&self, blob: &Blob) -> Result<(), FileError> {
        let path = self.path(blob.id());
        let _writing = self.writing.take(blob.id());
        if !holds(&path, blob.bytes()) {
            return self.write(&path, blob.bytes(), true);
        }
        // A killed process may have left the file unsynced.
        let sync = || File::open(&path)?.sync_all().and_then(|()| File::open(&self.path)?.sync_all());
        sync().map_err(fail("keep bytecode in", &path))
    }

    /// Returns whether a file of this length exists, once no other load writes the file.
    fn has(&self, blob: &Blob) -> bool {
        let _writing = self.writing.take(blob.id());
        let length = blob.bytes().len() as u64;
        fs::metadata(self.path(blob.id())).is_ok_and(|file| file.len() == length)
    }

    fn put_for_this_boot(&self, bytes: &[u8]) -> Result<BlobId, FileError> {
        let id = BlobId::of(bytes);
        let path = self.path(&id);
        let _writing = self.writing.take(&id);
        if !holds(&path, bytes) {
            self.write(&path, bytes, false)?;
        }
        Ok(id)
    }

    /// Writes a file. The caller holds the lock of its name.
    fn write(&self, path: &Path, bytes: &[u8], durably: bool) -> Result<(), FileError> {
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let mut written = draft.as_path();
        let mut write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            // Rename first, then sync: the journal of most file systems commits both at once. An existing
            // file is replaced only by a synced one.
            if durably && renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE).is_ok() {
                written = path;
                file.sync_all()?;
            } else {
                if durably {
                    file.sync_all()?;
                }
                fs::rename(&draft, path)?;
            }
            if durably { File::open(&self.path)?.sync_all() } else { Ok(()) }
        };
        let result = write();
        result.map_err(|source| {
            let _ = fs::remove_file(written);
            fail("keep bytecode in", path)(source)
        })
    }
}

impl Blobs {
    /// Opens a folder, and creates it if it is missing.
    pub fn open(folder: PathBuf) -> Result<Self, FileError> {
        fs::create_dir_all(&folder).map_err(fail("create folder", &folder))?;
        let folder = BlobFolder { path: folder, writing: NamesInUse::default() };
        Ok(Self { folder: Arc::new(folder), writer: WriterThread::default() })
    }

    /// Stores contents durably. Existing contents are compared, and replaced if they changed on disk.
    pub fn put(&self, blob: &Blob) -> Result<(), FileError> {
        self.folder.put(blob)
    }

    /// Stores contents as [`Self::put`] does, unless they were stored ahead and are still there.
    pub fn put_after(&self, blob: &Blob, ahead: Option<BlobAhead>) -> Result<(), FileError> {
        if ahead.is_some_and(BlobAhead::is_durable) && self.folder.has(blob) {
            return Ok(());
        }
        self.put(blob)
    }

    /// Stores contents until the next reboot: they may be lost at a power loss, and [`Self::get`] then fails.
    pub fn put_for_this_boot(&self, bytes: &[u8]) -> Result<BlobId, FileError> {
        self.folder.put_for_this_boot(bytes)
    }

    /// Starts to store contents durably, on a thread. `None` if they are large or a file of that name exists: nothing is gained
    /// then. The caller removes what no record needs.
    #[must_use]
    pub fn put_ahead(&self, blob: &Blob) -> Option<BlobAhead> {
        if blob.bytes().len() > MAX_AHEAD || self.folder.path(blob.id()).exists() {
            return None;
        }
        self.writer.put(&self.folder, blob)
    }

    /// Reads contents and verifies their digest.
    pub fn get(&self, id: &BlobId) -> Result<Arc<[u8]>, FileError> {
        let path = self.folder.path(id);
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
        if let Err(error) = fs::remove_file(self.folder.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, blob = id.as_str(), "unneeded bytecode stays on disk");
        }
    }

    /// Removes all files except those in `wanted`, including drafts of interrupted writes.
    pub fn sweep(&self, wanted: impl Fn(&str) -> bool) -> Result<(), FileError> {
        for entry in fs::read_dir(&self.folder.path).map_err(fail("list", &self.folder.path))? {
            let entry = entry.map_err(fail("list", &self.folder.path))?;
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
        let blob = Blob::new(b"an object"[..].into());
        blobs.put_after(&blob, Some(blobs.put_ahead(&blob).unwrap())).unwrap();
        assert_eq!(files(folder.path()), [blob.id().as_str()]);
        assert!(blobs.put_ahead(&blob).is_none(), "they are there");
        let large = Blob::new(vec![0; MAX_AHEAD + 1].into());
        assert!(blobs.put_ahead(&large).is_none());
    }

    #[test]
    fn contents_removed_after_they_were_written_ahead_return() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let blob = Blob::new(b"an object"[..].into());
        let ahead = blobs.put_ahead(&blob).unwrap();
        assert!(ahead.is_durable());
        blobs.remove(blob.id());
        let ahead = blobs.put_ahead(&blob);
        blobs.remove(blob.id());
        blobs.put_after(&blob, ahead).unwrap();
        assert_eq!(*blobs.get(blob.id()).unwrap(), **blob.bytes());
    }

    #[test]
    fn contents_that_changed_on_disk_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let blob = Blob::new(b"an object"[..].into());
        fs::write(folder.path().join(blob.id().as_str()), b"an 0bject").unwrap();
        blobs.put(&blob).unwrap();
        assert_eq!(*blobs.get(blob.id()).unwrap(), **blob.bytes());
        assert_eq!(files(folder.path()), [blob.id().as_str()]);
    }

    #[test]
    fn concurrent_writes_of_the_same_contents_agree() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let blob = Blob::new(vec![7; 100_000].into());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| blobs.put_after(&blob, blobs.put_ahead(&blob)).unwrap());
            }
        });
        assert_eq!(*blobs.get(blob.id()).unwrap(), **blob.bytes());
        assert_eq!(files(folder.path()), [blob.id().as_str()]);
    }
}

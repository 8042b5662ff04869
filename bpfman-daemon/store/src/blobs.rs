//! Content-addressed files: durable bytecode, and data derived from it, which is needed only until the next reboot.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blob_id::BlobId;
use crate::error::FileError;

/// Folder of object files, each named by its digest.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
}

/// Maximum size of contents that are drafted on a thread, in bytes: a load that is refused has then cost no more.
const MAX_DRAFT: usize = 1 << 20;
/// Stack of that thread, in bytes.
const DRAFT_STACK: usize = 128 << 10;

/// Contents that a thread writes.
#[derive(Debug)]
pub struct BlobDrafting(std::thread::JoinHandle<Result<BlobDraft, FileError>>);

/// Contents in a file of another name, which is removed unless it gets its own.
#[derive(Debug)]
struct BlobDraft {
    draft: PathBuf,
    path: PathBuf,
    is_placed: bool,
}

impl BlobDraft {
    fn write(path: PathBuf, bytes: &[u8], durably: bool) -> Result<Self, FileError> {
        // Two loads of the same bytecode may write concurrently, each its own draft.
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = path.with_extension(format!("{}.{number}.draft", std::process::id()));
        let one = Self { draft, path, is_placed: false };
        let write = || -> io::Result<()> {
            let mut file = File::create(&one.draft)?;
            file.write_all(bytes)?;
            if durably { file.sync_all() } else { Ok(()) }
        };
        write().map_err(fail("keep bytecode in", &one.path))?;
        Ok(one)
    }
}

impl Drop for BlobDraft {
    fn drop(&mut self) {
        if !self.is_placed {
            // The next start removes a draft that stays.
            let _ = fs::remove_file(&self.draft);
        }
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
        self.keep(bytes, true)
    }

    /// Stores contents until the next reboot: they may be lost at a power loss, and [`Self::get`] then fails.
    pub fn put_for_this_boot(&self, bytes: &[u8]) -> Result<BlobId, FileError> {
        self.keep(bytes, false)
    }

    fn keep(&self, bytes: &[u8], durably: bool) -> Result<BlobId, FileError> {
        let id = BlobId::of(bytes);
        if !holds(&self.path(&id), bytes) {
            self.place(BlobDraft::write(self.path(&id), bytes, durably)?, durably)?;
        }
        Ok(id)
    }

    /// Starts to write contents durably, on a thread of its own, for [`Self::put_drafted`]. `None` if they are large or a
    /// file has them already: nothing is gained then.
    #[must_use]
    pub fn draft(&self, bytes: &Arc<[u8]>) -> Option<BlobDrafting> {
        let path = self.path(&BlobId::of(bytes));
        if bytes.len() > MAX_DRAFT || path.exists() {
            return None;
        }
        let bytes = Arc::clone(bytes);
        let write = move || BlobDraft::write(path, &bytes, true);
        let thread = std::thread::Builder::new().name("draft".to_owned()).stack_size(DRAFT_STACK);
        thread.spawn(write).ok().map(BlobDrafting)
    }

    /// Stores contents as [`Self::put`] does, of which a draft was begun.
    pub fn put_drafted(&self, bytes: &[u8], drafting: Option<BlobDrafting>) -> Result<BlobId, FileError> {
        let id = BlobId::of(bytes);
        let draft = drafting.and_then(|drafting| drafting.0.join().ok()?.ok());
        match draft {
            Some(draft) if !holds(&self.path(&id), bytes) => self.place(draft, true)?,
            _ => return self.put(bytes),
        }
        Ok(id)
    }

    fn place(&self, mut draft: BlobDraft, durably: bool) -> Result<(), FileError> {
        let place = || -> io::Result<()> {
            fs::rename(&draft.draft, &draft.path)?;
            if durably { File::open(&self.folder)?.sync_all() } else { Ok(()) }
        };
        place().map_err(fail("keep bytecode in", &draft.path))?;
        draft.is_placed = true;
        Ok(())
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
            tracing::warn!(%error, blob = id.as_str(), "bytecode that nobody needs stays on disk");
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
    fn drafted_contents_are_kept_once_and_unwanted_drafts_go() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().to_owned()).unwrap();
        let bytes: Arc<[u8]> = b"an object"[..].into();
        let (one, other) = (blobs.draft(&bytes), blobs.draft(&bytes));
        assert!(one.is_some() && other.is_some());
        let id = blobs.put_drafted(&bytes, one).unwrap();
        assert_eq!(blobs.put_drafted(&bytes, other).unwrap(), id);
        assert_eq!(files(folder.path()), [id.as_str()]);
        assert!(blobs.draft(&bytes).is_none(), "they are there");
        // A load that is refused lets go of its draft.
        blobs.remove(&id);
        drop(blobs.draft(&bytes));
        while !files(folder.path()).is_empty() {
            std::thread::yield_now();
        }
        // Without a draft, or with one that failed, contents are written at once.
        let failed = BlobDrafting(std::thread::spawn(|| panic!("no room")));
        assert_eq!(blobs.put_drafted(&bytes, Some(failed)).unwrap(), id);
        assert_eq!(*blobs.get(&id).unwrap(), *bytes);
        let large: Arc<[u8]> = vec![0; MAX_DRAFT + 1].into();
        assert!(blobs.draft(&large).is_none());
    }
}

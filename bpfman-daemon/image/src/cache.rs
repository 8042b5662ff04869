//! Content on this machine's disk, by digest, verified on every read.
//!
//! ```text
//! sha256/<digits>       manifests, configurations and layers, as the registry sent them
//! signatures/<digits>   signatures found for a digest
//! tags/<digits>         last known digest of a name; <digits> is the SHA-256 of the name
//! images/<digits>       content that belongs to an image, for garbage collection; <digits> is the SHA-256 of name and digest
//! access/<digits>       rights to use an image from the cache; <digits> is the SHA-256 of name and digest
//! access.key            key of the password hashes in access/
//! floors/<digits>       highest version accepted of a repository or under a rule; never collected
//! tmp/                  files being written; renamed when complete and synced
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bpfman_image_format::{Digest, ImageReference};
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::cache_writer::{CacheWriter, CountedBytes};
use crate::clock::AgeClock;
use crate::signature::Signature;
use crate::sink::Sink as _;

/// Cache that only root may write: signatures are verified at use, but tags and access records are not.
#[derive(Debug)]
pub(crate) struct ImageCache {
    root: PathBuf,
    prepared: OnceLock<()>,
    next: AtomicU64,
    /// Flags of unsynced folders. Locked during a sync, so that no second caller takes an unfinished one for done.
    unsettled: Mutex<[bool; FOLDERS.len()]>,
    floors: Mutex<()>,
    access: Mutex<()>,
    room: u64,
    fetching: Arc<AtomicU64>,
    relied: Mutex<HashMap<Digest, usize>>,
    pub(crate) clock: AgeClock,
}

const FOLDERS: [&str; 6] = ["sha256", "signatures", "tags", "images", "floors", "access"];

pub(crate) const RECORD_LIMIT: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

impl ImageCache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            prepared: OnceLock::new(),
            next: AtomicU64::new(0),
            unsettled: Mutex::default(),
            floors: Mutex::default(),
            access: Mutex::default(),
            room: u64::MAX,
            fetching: Arc::default(),
            relied: Mutex::default(),
            clock: AgeClock::default(),
        }
    }

    pub(crate) fn with_room(self, room: u64) -> Self {
        Self { room, ..self }
    }

    /// Returns content; damaged content is removed and counts as missing.
    pub(crate) fn blob(&self, digest: Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let path = self.blob_path(digest);
        let Some(bytes) = read(&path, limit)? else { return Ok(None) };
        let found = Digest::of(&bytes);
        if found == digest {
            return Ok(Some(bytes));
        }
        tracing::warn!(path = %path.display(), %found, "image cache: damaged content removed");
        fs::remove_file(&path).or_else(missing_is_fine).map_err(storage(&path))?;
        Ok(None)
    }

    #[cfg(test)]
    pub(crate) fn put(self: &Arc<Self>, bytes: &[u8]) -> Result<(), ImageError> {
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.keep(Digest::of(bytes))
    }

    pub(crate) fn writer(self: &Arc<Self>) -> Result<CacheWriter, ImageError> {
        self.writer_within(None)
    }

    pub(crate) fn bounded_writer(self: &Arc<Self>) -> Result<CacheWriter, ImageError> {
        self.writer_within(Some(self.room))
    }

    fn writer_within(self: &Arc<Self>, room: Option<u64>) -> Result<CacheWriter, ImageError> {
        let path = self.temporary()?;
        let file = create(&path).map_err(storage(&path))?;
        Ok(CacheWriter::new(
            Arc::clone(self),
            file,
            path,
            CountedBytes::new(Arc::clone(&self.fetching), room),
        ))
    }

    pub(crate) fn renamed_to(&self, path: &Path) {
        let folder = path.parent().and_then(Path::file_name);
        if let Some(at) = FOLDERS.iter().position(|name| folder.is_some_and(|folder| folder == *name)) {
            self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)[at] = true;
        }
    }

    pub(crate) fn rely(&self, digest: Digest) {
        *self.relied().entry(digest).or_default() += 1;
    }

    pub(crate) fn rely_no_more(&self, digests: &BTreeSet<Digest>) {
        let mut relied = self.relied();
        for digest in digests {
            if let Some(count) = relied.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    relied.remove(digest);
                }
            }
        }
    }

    pub(crate) fn relied(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.relied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn floors_lock(&self) -> &Mutex<()> {
        &self.floors
    }

    pub(crate) fn access_lock(&self) -> &Mutex<()> {
        &self.access
    }

    /// Syncs the folders with renamed files, once per load. Files are synced before they are renamed.
    pub(crate) fn settle(&self) -> Result<(), ImageError> {
        let mut unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        for (folder, unsettled) in FOLDERS.iter().zip(unsettled.iter_mut()) {
            if *unsettled {
                let path = self.root.join(folder);
                File::open(&path).and_then(|folder| folder.sync_all()).map_err(storage(&path))?;
                *unsettled = false;
            }
        }
        Ok(())
    }

    pub(crate) fn tag(&self, image: &ImageReference) -> Result<Option<Digest>, ImageError> {
        let (name, path) = self.tag_path(image);
        let tag = read(&path, RECORD_LIMIT)?.and_then(|bytes| serde_json::from_slice::<Tag>(&bytes).ok());
        Ok(tag.filter(|tag| tag.name == name).map(|tag| tag.digest))
    }

    pub(crate) fn set_tag(
        self: &Arc<Self>,
        image: &ImageReference,
        digest: Digest,
    ) -> Result<(), ImageError> {
        if self.tag(image)? == Some(digest) {
            return Ok(());
        }
        let (name, path) = self.tag_path(image);
        self.record(&path, &Tag { name, digest })
    }

    pub(crate) fn signatures(&self, digest: Digest) -> Result<Option<Vec<Signature>>, ImageError> {
        let bytes = read(&self.root.join("signatures").join(digest.hex()), RECORD_LIMIT)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    pub(crate) fn set_signatures(
        self: &Arc<Self>,
        digest: Digest,
        signatures: &[Signature],
    ) -> Result<(), ImageError> {
        self.record(&self.root.join("signatures").join(digest.hex()), &signatures)
    }

    pub(crate) fn open(&self, digest: Digest) -> Result<Option<File>, ImageError> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(storage(&path)(error)),
        }
    }

    pub(crate) fn discard(&self, digest: Digest) -> Result<(), ImageError> {
        let path = self.blob_path(digest);
        tracing::warn!(path = %path.display(), "image cache: damaged content removed");
        fs::remove_file(&path).or_else(missing_is_fine).map_err(storage(&path))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("sha256").join(digest.hex())
    }

    fn tag_path(&self, image: &ImageReference) -> (String, PathBuf) {
        let name = format!("{}:{}", image.name(), image.target());
        let path = self.root.join("tags").join(Digest::of(name.as_bytes()).hex());
        (name, path)
    }

    pub(crate) fn record(self: &Arc<Self>, path: &Path, value: &impl Serialize) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(value).map_err(|e| storage(path)(io::Error::other(e)))?;
        self.replace(path, &bytes)
    }

    pub(crate) fn replace(self: &Arc<Self>, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        writer.rename(path)
    }

    /// Returns a new path in `tmp`. The first call creates the folders, and removes files of killed daemons.
    fn temporary(&self) -> Result<PathBuf, ImageError> {
        let folder = self.root.join("tmp");
        if self.prepared.get().is_none() {
            for part in FOLDERS.into_iter().chain(["tmp"]) {
                let path = self.root.join(part);
                fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(storage(&path))?;
            }
            remove_left_over(&folder).map_err(storage(&folder))?;
            let _ = self.prepared.set(());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(folder.join(format!("{}-{number}-{:p}", std::process::id(), self)))
    }
}

/// Removes files whose process has ended. Files of this process stay, since another store of it may use them.
fn remove_left_over(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let owner = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('-').next());
        if !owner.is_some_and(|pid| Path::new("/proc").join(pid).exists()) {
            fs::remove_file(&path).or_else(missing_is_fine)?;
        }
    }
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Reads a file up to the limit and one byte more: a larger file is damaged, and its digest cannot match.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(storage(path)(error)),
    }
}

pub(crate) fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(crate) fn storage(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::Storage { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_never_hands_out_damaged_content() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(ImageCache::new(folder.path().join("images")));
        let digest = Digest::of(b"content");
        assert_eq!(cache.blob(digest, 100).unwrap(), None);
        cache.put(b"content").unwrap();
        cache.settle().unwrap();
        assert_eq!(cache.blob(digest, 100).unwrap().as_deref(), Some(b"content".as_slice()));
        for damage in [b"CONTENT".as_slice(), b"cont", b"content and more", b""] {
            fs::write(cache.blob_path(digest), damage).unwrap();
            assert_eq!(cache.blob(digest, 10).unwrap(), None);
            assert!(!cache.blob_path(digest).exists());
        }
    }

    #[test]
    fn cache_keeps_nothing_of_an_unfinished_write() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(ImageCache::new(folder.path().to_owned()));
        let mut writer = cache.writer().unwrap();
        writer.write(b"half").unwrap();
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 1);
        drop(writer);
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(folder.path().join("sha256")).unwrap().count(), 0);
    }

    #[test]
    fn cache_removes_what_a_killed_daemon_left() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("tmp/4294967295-0-x");
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        fs::write(&left, b"half").unwrap();
        Arc::new(ImageCache::new(folder.path().to_owned())).put(b"new").unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn cache_remembers_names_and_signatures() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(ImageCache::new(folder.path().to_owned()));
        let image: ImageReference = "quay.io/a:b".parse().unwrap();
        assert_eq!(cache.tag(&image).unwrap(), None);
        for content in ["one", "two"] {
            let digest = Digest::of(content.as_bytes());
            cache.set_tag(&image, digest).unwrap();
            assert_eq!(cache.tag(&image).unwrap(), Some(digest));
            assert_eq!(cache.tag(&image.at_tag("c")).unwrap(), None);
        }
        let digest = Digest::of(b"one");
        assert_eq!(cache.signatures(digest).unwrap(), None);
        cache.set_signatures(digest, &[]).unwrap();
        assert_eq!(cache.signatures(digest).unwrap(), Some(Vec::new()));
        fs::write(folder.path().join("signatures").join(digest.hex()), b"[{").unwrap();
        assert_eq!(cache.signatures(digest).unwrap(), None);
    }
}

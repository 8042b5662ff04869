//! Fetched content of one load, outside the cache: a registry must not fill the disk with content that is then refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_image_format::Digest;

use crate::ImageError;
use crate::cache::ImageCache;
use crate::cache_writer::CacheWriter;
use crate::sink::Sink as _;

#[derive(Debug)]
pub(crate) struct Staging {
    cache: Arc<ImageCache>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    fetched: BTreeMap<Digest, CacheWriter>,
    relied: BTreeSet<Digest>,
}

impl Staging {
    pub(crate) fn new(cache: Arc<ImageCache>) -> Self {
        Self { cache, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_fetched(&self, digest: Digest) -> bool {
        self.state().fetched.contains_key(&digest)
    }

    pub(crate) fn writer(&self) -> Result<CacheWriter, ImageError> {
        self.cache.bounded_writer()
    }

    pub(crate) fn unbounded_writer(&self) -> Result<CacheWriter, ImageError> {
        self.cache.writer()
    }

    pub(crate) fn hold(&self, digest: Digest, writer: CacheWriter) {
        self.state().fetched.insert(digest, writer);
    }

    pub(crate) fn put(&self, bytes: &[u8]) -> Result<(), ImageError> {
        let mut writer = self.writer()?;
        writer.write(bytes)?;
        self.hold(Digest::of(bytes), writer);
        Ok(())
    }

    pub(crate) fn put_unbounded(&self, bytes: &[u8]) -> Result<(), ImageError> {
        let mut writer = self.unbounded_writer()?;
        writer.write(bytes)?;
        self.hold(Digest::of(bytes), writer);
        Ok(())
    }

    pub(crate) fn size(&self, digest: Digest) -> Option<u64> {
        self.state().fetched.get(&digest).map(CacheWriter::size)
    }

    pub(crate) fn blob(&self, digest: Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        if let Some(writer) = self.state().fetched.get(&digest) {
            return writer.read(limit).map(Some);
        }
        self.rely(digest);
        self.cache.blob(digest, limit)
    }

    pub(crate) fn open(&self, digest: Digest) -> Result<Option<File>, ImageError> {
        if let Some(writer) = self.state().fetched.get(&digest) {
            return writer.reopen().map(Some);
        }
        self.rely(digest);
        self.cache.open(digest)
    }

    pub(crate) fn discard(&self, digest: Digest) -> Result<(), ImageError> {
        match self.state().fetched.remove(&digest) {
            Some(_) => Ok(()),
            None => self.cache.discard(digest),
        }
    }

    fn rely(&self, digest: Digest) {
        if self.state().relied.insert(digest) {
            self.cache.rely(digest);
        }
    }

    pub(crate) fn keep(&self, members: &BTreeSet<Digest>) -> Result<(), ImageError> {
        for digest in members {
            let fetched = self.state().fetched.remove(digest);
            if let Some(writer) = fetched {
                // Protect the content before it is moved, so that garbage collection cannot remove it in between.
                self.rely(*digest);
                writer.keep(*digest)?;
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let relied = std::mem::take(&mut self.state().relied);
        self.cache.rely_no_more(&relied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Bounds;
    use std::time::Duration;

    fn cache(folder: &tempfile::TempDir, room: u64) -> Arc<ImageCache> {
        Arc::new(ImageCache::new(folder.path().to_owned()).with_room(room))
    }

    fn files(folder: &tempfile::TempDir, name: &str) -> usize {
        std::fs::read_dir(folder.path().join(name)).map_or(0, Iterator::count)
    }

    #[test]
    fn only_content_of_verified_images_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 100);
        let staging = Staging::new(Arc::clone(&cache));
        for content in [b"one".as_slice(), b"two"] {
            staging.put(content).unwrap();
            assert_eq!(staging.blob(Digest::of(content), 100).unwrap().as_deref(), Some(content));
        }
        assert_eq!((files(&folder, "tmp"), files(&folder, "sha256")), (2, 0));
        staging.keep(&[Digest::of(b"one")].into()).unwrap();
        drop(staging);
        assert_eq!((files(&folder, "tmp"), files(&folder, "sha256")), (0, 1));
        assert_eq!(cache.blob(Digest::of(b"one"), 100).unwrap().as_deref(), Some(b"one".as_slice()));
    }

    #[test]
    fn concurrent_loads_share_and_release_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 10);
        let (one, two) = (Staging::new(Arc::clone(&cache)), Staging::new(Arc::clone(&cache)));
        one.put(b"12345678").unwrap();
        assert!(matches!(two.put(b"123"), Err(ImageError::NoRoom { limit: 10, .. })));
        two.put(b"12").unwrap();
        drop(one);
        two.put(b"12345678").unwrap();
        two.keep(&[Digest::of(b"12"), Digest::of(b"12345678")].into()).unwrap();
        two.put(b"another").unwrap();
        assert_eq!(files(&folder, "tmp"), 1);
    }

    #[test]
    fn a_collection_leaves_what_loads_rely_on() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder, 100);
        cache.put(b"content").unwrap();
        let staging = Staging::new(Arc::clone(&cache));
        staging.blob(Digest::of(b"content"), 100).unwrap();
        let bounds = Bounds { bytes: 0, age: Duration::ZERO };
        cache.collect(&BTreeSet::new(), bounds).unwrap();
        assert_eq!(files(&folder, "sha256"), 1);
        drop(staging);
        cache.collect(&BTreeSet::new(), bounds).unwrap();
        assert_eq!(files(&folder, "sha256"), 0);
    }
}

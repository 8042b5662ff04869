use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfman_image_format::Digest;
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::access::{self, Access};
use crate::cache::{ImageCache, RECORD_LIMIT, Tag, missing_is_fine, read, storage};

/// Limits of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum size of all images, in bytes.
    pub bytes: u64,
    /// Time since its last load after which an image is removed.
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 1 << 30, age: Duration::from_secs(30 * 24 * 3600) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InventoryEntry {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) manifest: Digest,
    pub(crate) object: Digest,
    pub(crate) members: BTreeSet<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedImage {
    /// `registry/repository`.
    pub name: String,
    /// Tags that resolved to the image when they were last looked up.
    pub tags: Vec<String>,
    /// Digest of index or manifest.
    pub digest: Digest,
    pub manifest_digest: Digest,
    pub object_digest: Digest,
    /// Bytes on disk. Shared content is counted for each image.
    pub bytes: u64,
    pub signatures: usize,
    /// Time of the last load, in seconds since 1970.
    pub last_used: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images, as `name@digest`.
    pub images: Vec<String>,
    pub bytes: u64,
}

/// Repeated uses within this time are recorded once: a load should not cost a write.
const NOTED: Duration = Duration::from_secs(60);

impl ImageCache {
    pub(crate) fn used(self: &Arc<Self>, entry: &InventoryEntry) -> Result<(), ImageError> {
        let key = Digest::of(format!("{}@{}", entry.name, entry.digest).as_bytes());
        let path = self.root().join("images").join(key.hex());
        match fs::metadata(&path).and_then(|metadata| metadata.modified()) {
            Ok(last) if last.elapsed().is_ok_and(|elapsed| elapsed < NOTED) => Ok(()),
            // The platform is selected at each load, so the members may differ.
            _ => self.record(&path, entry),
        }
    }

    pub(crate) fn images(&self) -> Result<Vec<CachedImage>, ImageError> {
        let mut tags: BTreeMap<(String, Digest), Vec<String>> = BTreeMap::new();
        for (_, tag) in self.records::<Tag>("tags")? {
            if let Some((name, label)) = tag.name.rsplit_once(':') {
                tags.entry((name.to_owned(), tag.digest)).or_default().push(label.to_owned());
            }
        }
        let mut images = Vec::new();
        for (path, entry) in self.records::<InventoryEntry>("images")? {
            let last = fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            let mut names = tags.get(&(entry.name.clone(), entry.digest)).cloned().unwrap_or_default();
            names.sort();
            let mut signatures = 0;
            for subject in BTreeSet::from([entry.digest, entry.manifest]) {
                signatures += self.signatures(subject)?.map_or(0, |found| found.len());
            }
            let size =
                |digest: &Digest| fs::metadata(self.blob_path(*digest)).map_or(0, |metadata| metadata.len());
            images.push(CachedImage {
                tags: names,
                manifest_digest: entry.manifest,
                object_digest: entry.object,
                bytes: entry.members.iter().map(size).sum(),
                signatures,
                last_used: last.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
                digest: entry.digest,
                name: entry.name,
            });
        }
        images.sort_by(|a, b| (&a.name, a.digest).cmp(&(&b.name, b.digest)));
        Ok(images)
    }

    /// Removes images beyond the limits, except `keep`, and unused content. Nothing may be added meanwhile.
    pub(crate) fn collect(&self, keep: &BTreeSet<Digest>, bounds: Bounds) -> Result<Collected, ImageError> {
        let mut collected = Collected::default();
        let mut entries: Vec<(SystemTime, PathBuf, InventoryEntry)> = Vec::new();
        for (path, entry) in self.records::<InventoryEntry>("images")? {
            let last =
                fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(storage(&path))?;
            entries.push((last, path, entry));
        }
        // Newest first, to fill the limit. Images from the future come last: they would never expire by age.
        entries.sort_by_key(|(last, ..)| std::cmp::Reverse(self.clock.age(*last).map(|_| *last)));
        let (mut needed, mut room) = (BTreeSet::new(), bounds.bytes);
        let mut staying = BTreeSet::new();
        let mut gone = BTreeSet::new();
        let (kept, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(_, _, entry)| keep.contains(&entry.digest) || keep.contains(&entry.manifest));
        for (must_stay, (last, path, entry)) in
            kept.into_iter().map(|entry| (true, entry)).chain(others.into_iter().map(|entry| (false, entry)))
        {
            let added: BTreeSet<Digest> = entry.members.difference(&needed).copied().collect();
            let size: u64 = added.iter().map(|digest| self.size(*digest)).sum();
            let old = self.clock.age(last).is_some_and(|age| age >= bounds.age);
            if !must_stay && (old || size > room) {
                remove(&path)?;
                collected.images.push(format!("{}@{}", entry.name, entry.digest));
                gone.insert((entry.name, entry.digest));
                continue;
            }
            room = room.saturating_sub(size);
            needed.extend(added);
            staying.extend([(entry.name.clone(), entry.digest), (entry.name, entry.manifest)]);
        }
        for (path, tag) in self.records::<Tag>("tags")? {
            let name = tag.name.rsplit_once(':').map_or(tag.name.as_str(), |(name, _)| name).to_owned();
            if gone.contains(&(name, tag.digest)) {
                remove(&path)?;
            }
        }
        for (path, access) in self.records::<Access>("access")? {
            if !staying.contains(&(access.name, access.digest)) {
                access::forget(&path)?;
            }
        }
        collected.bytes += self.sweep("sha256", &needed)?;
        collected.bytes += self.sweep("signatures", &needed)?;
        Ok(collected)
    }

    fn size(&self, digest: Digest) -> u64 {
        fs::metadata(self.blob_path(digest)).map_or(0, |metadata| metadata.len())
    }

    fn sweep(&self, folder: &str, needed: &BTreeSet<Digest>) -> Result<u64, ImageError> {
        let names: BTreeSet<String> = needed.iter().map(Digest::hex).collect();
        let mut bytes = 0;
        for path in list(&self.root().join(folder))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let relied = self.relied();
            if !names.contains(name) && !relied.keys().any(|digest| digest.hex() == name) {
                bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
                remove(&path)?;
            }
        }
        Ok(bytes)
    }

    fn records<T: for<'de> Deserialize<'de>>(&self, folder: &str) -> Result<Vec<(PathBuf, T)>, ImageError> {
        let mut found = Vec::new();
        for path in list(&self.root().join(folder))? {
            let record = read(&path, RECORD_LIMIT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            found.extend(record.map(|record| (path, record)));
        }
        Ok(found)
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(storage(folder)(error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(storage(folder))).collect()
}

fn remove(path: &Path) -> Result<(), ImageError> {
    fs::remove_file(path).or_else(missing_is_fine).map_err(storage(path))
}

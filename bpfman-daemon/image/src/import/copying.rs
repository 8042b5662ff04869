//! Copies the content of a layout or archive into staging, checked by digest: the source need not be trusted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bpfman_image_format::{Digest, Hasher, TAR_HEADER, UnsupportedPacking, is_tar, kind_of, unpacked};

use crate::cache::storage;
use crate::sink::Sink as _;
use crate::staging::Staging;
use crate::{ImageError, Limits};

const MAX_ENTRIES: usize = 8192;
const INDEX_LIMIT: u64 = 4 << 20;
const TOTAL_LIMIT: u64 = 1 << 30;
const ARCHIVE_LIMIT: u64 = TOTAL_LIMIT + (64 << 20);

pub(super) struct Copied {
    pub(super) shown: String,
    pub(super) index: Option<Vec<u8>>,
    pub(super) docker: Option<Vec<u8>>,
    files: BTreeMap<String, (Digest, u64)>,
    links: BTreeMap<String, String>,
}

impl Copied {
    /// Returns a file, also by a link to it: earlier versions of docker store a layer of several images once.
    pub(super) fn file(&self, name: &str) -> Option<(Digest, u64)> {
        let target = || self.files.get(self.links.get(name)?);
        self.files.get(name).or_else(target).copied()
    }
}

/// Returns where a symbolic link leads; none if outside of the archive.
fn link_target(link: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!target.starts_with('/')).then(|| parts.join("/"))
}

pub(super) fn copy(staging: &Arc<Staging>, path: &Path, limits: &Limits) -> Result<Copied, ImageError> {
    let copied = Copied {
        shown: path.display().to_string(),
        index: None,
        docker: None,
        files: BTreeMap::new(),
        links: BTreeMap::new(),
    };
    let mut copying = Copying { staging, limits, left: TOTAL_LIMIT, copied };
    if fs::metadata(path).map_err(storage(path))?.is_dir() {
        copying.folder(path)?;
    } else {
        copying.archive(path)?;
    }
    Ok(copying.copied)
}

struct Copying<'a> {
    staging: &'a Arc<Staging>,
    limits: &'a Limits,
    left: u64,
    copied: Copied,
}

impl Copying<'_> {
    fn folder(&mut self, path: &Path) -> Result<(), ImageError> {
        let index = path.join("index.json");
        self.file("index.json", &mut File::open(&index).map_err(storage(&index))?)?;
        let blobs = path.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).map_err(storage(&blobs))? {
            let entry = entry.map_err(storage(&blobs))?;
            let file = entry.path();
            // Symbolic links could lead out of the folder.
            if entry.file_type().map_err(storage(&file))?.is_file() {
                let name = format!("blobs/sha256/{}", entry.file_name().to_string_lossy());
                self.file(&name, &mut File::open(&file).map_err(storage(&file))?)?;
            }
        }
        Ok(())
    }

    fn archive(&mut self, path: &Path) -> Result<(), ImageError> {
        let file = io::BufReader::new(File::open(path).map_err(storage(path))?);
        let content = unpacked(file).map_err(|error| self.unreadable(&error))?;
        let mut content = Bounded { inner: content, left: ARCHIVE_LIMIT };
        let mut start = Vec::new();
        let read = (&mut content).take(TAR_HEADER as u64).read_to_end(&mut start);
        read.map_err(|error| self.unreadable(&error))?;
        if !is_tar(&start) {
            return Err(self.malformed(format!("it is no archive of images, but {}", kind_of(&start))));
        }
        let mut archive = tar::Archive::new(start.chain(content));
        // Raw entries: relevant names fit into a header, and longer ones are not read into memory.
        let entries = archive.entries().map_err(|error| self.unreadable(&error))?.raw(true);
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|error| self.unreadable(&error))?;
            if count == MAX_ENTRIES {
                return Err(self.malformed(format!("it has more than {MAX_ENTRIES} entries")));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            if entry.header().entry_type().is_file() {
                self.file(&name, &mut entry)?;
            } else if entry.header().entry_type().is_symlink()
                && let Some(target) = entry.link_name_bytes()
                && let Some(target) = link_target(&name, &String::from_utf8_lossy(&target))
            {
                self.copied.links.insert(name, target);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &str, content: &mut impl Read) -> Result<(), ImageError> {
        if matches!(name, "index.json" | "manifest.json") {
            let mut bytes = Vec::new();
            let read = content.take(INDEX_LIMIT + 1).read_to_end(&mut bytes);
            read.map_err(|error| self.unreadable(&error))?;
            if bytes.len() as u64 > INDEX_LIMIT {
                let what = format!("{name} in {}", self.copied.shown);
                return Err(ImageError::TooLarge { what, size: None, limit: INDEX_LIMIT });
            }
            let kept = if name == "index.json" { &mut self.copied.index } else { &mut self.copied.docker };
            *kept = Some(bytes);
            return Ok(());
        }
        let digits = name.strip_prefix("blobs/sha256/").map(|digits| format!("sha256:{digits}"));
        let expected = digits.and_then(|digits| digits.parse::<Digest>().ok());
        // Docker archives keep configurations and layers under other names.
        if expected.is_none() && !name.ends_with(".tar") && !name.ends_with(".json") {
            return Ok(());
        }
        let what = || match expected {
            Some(digest) => format!("the blob {digest} in {}", self.copied.shown),
            None => format!("{name} in {}", self.copied.shown),
        };
        let limit = self.limits.layer.min(self.left);
        let (mut writer, mut hasher, mut size) = (self.staging.unbounded_writer()?, Hasher::default(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = content.read(&mut buffer).map_err(|error| self.unreadable(&error))?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > limit {
                return Err(ImageError::TooLarge { what: what(), size: None, limit });
            }
            hasher.update(&buffer[..read]);
            writer.write(&buffer[..read])?;
        }
        let found = hasher.finish();
        match expected {
            Some(expected) if found != expected => {
                return Err(ImageError::WrongDigest { what: what(), expected, found });
            }
            Some(_) => {}
            None => {
                self.copied.files.insert(name.to_owned(), (found, size));
            }
        }
        self.left -= size;
        self.staging.hold(found, writer);
        Ok(())
    }

    fn malformed(&self, why: String) -> ImageError {
        ImageError::Malformed { what: self.copied.shown.clone(), source: why.into() }
    }

    fn unreadable(&self, error: &io::Error) -> ImageError {
        let what = self.copied.shown.clone();
        if let Some(code) = error.raw_os_error() {
            return ImageError::Storage { path: what.into(), source: io::Error::from_raw_os_error(code) };
        }
        if let Some(unsupported) = UnsupportedPacking::of(error) {
            return ImageError::Unsupported { what, source: unsupported.into() };
        }
        // The tar reader wraps I/O errors, and its messages repeat unparsed bytes.
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            if inner.downcast_ref::<io::Error>().is_some_and(is_bound) {
                return ImageError::TooLarge { what, size: None, limit: ARCHIVE_LIMIT };
            }
            cause = inner.source();
        }
        if is_bound(error) {
            return ImageError::TooLarge { what, size: None, limit: ARCHIVE_LIMIT };
        }
        let why: String = error.to_string().chars().filter(|c| !c.is_control()).take(160).collect();
        self.malformed(format!("it is no archive of images: {why}"))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too much data")]
struct Bound;

fn is_bound(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Bound>())
}

struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(Bound))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_leads_to_a_name_inside_of_the_archive_alone() {
        for (target, expected) in [
            ("../b/layer.tar", Some("b/layer.tar")),
            ("./layer", Some("a/layer")),
            ("../../b/layer.tar", None),
            ("/b/layer.tar", None),
        ] {
            assert_eq!(link_target("a/layer.tar", target).as_deref(), expected, "{target}");
        }
    }
}

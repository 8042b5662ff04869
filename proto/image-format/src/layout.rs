use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Digest, media};

/// Operating system and architecture in a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformField {
    /// Architecture, by Go's name.
    pub architecture: String,
    /// Operating system, by Go's name.
    pub os: String,
    /// Unused fields (`variant`), kept when a document is written again.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Deserializes a list or map that may be `null`, which Go writes for an empty one.
pub fn null_is_empty<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reference to content by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content, in bytes.
    pub size: u64,
    /// Platform of the content, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformField>,
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Unused fields (`artifactType`, `urls`), kept when a document is written again.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Descriptor {
    /// Creates the descriptor of `content`.
    #[must_use]
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content),
            size: content.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
            other: serde_json::Map::new(),
        }
    }
}

/// Reason why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file of the layout cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The folder is not a layout, or of another version.
    #[error("{path} is not an OCI image layout of version 1.0.0: {why}")]
    NotLayout {
        /// Path of the folder.
        path: PathBuf,
        /// Defect of the layout.
        why: String,
    },
    #[error("the layout {path} has no image `{name}`; it has {present}")]
    NoImage {
        /// Path of the layout.
        path: PathBuf,
        /// Requested name.
        name: String,
        /// Names in the layout.
        present: String,
    },
    /// The content of a blob does not match its name or size.
    #[error("the blob {digest} in {path} is damaged: {why}")]
    Damaged {
        /// Path of the layout.
        path: PathBuf,
        /// Digest in the blob's name.
        digest: Digest,
        /// Mismatch.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default = "oci_index")]
    media_type: String,
    manifests: Vec<Descriptor>,
}

fn oci_index() -> String {
    media::OCI_INDEX.to_owned()
}

const BLOB_LIMIT: u64 = 64 << 20;

/// OCI image layout on disk.
#[derive(Clone, Debug)]
pub struct OciLayout {
    path: PathBuf,
}

impl OciLayout {
    /// Opens the layout at `path`.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marker {
            image_layout_version: String,
        }
        let layout = Self { path: path.to_owned() };
        let wrong = |why: String| LayoutError::NotLayout { path: path.to_owned(), why };
        let marker = layout.read("oci-layout", 4096)?;
        let marker: Marker =
            serde_json::from_slice(&marker).map_err(|e| wrong(format!("oci-layout: {e}")))?;
        if marker.image_layout_version != "1.0.0" {
            return Err(wrong(format!("its version is `{}`", marker.image_layout_version)));
        }
        layout.index()?;
        Ok(layout)
    }

    /// Opens the layout at `path`, and creates an empty one if there is none.
    pub fn open_or_create(path: &Path) -> Result<Self, LayoutError> {
        let layout = Self { path: path.to_owned() };
        if !path.join("oci-layout").exists() {
            let io = |source| LayoutError::Io { path: path.to_owned(), source };
            fs::create_dir_all(path.join("blobs/sha256")).map_err(io)?;
            layout.write_index(&Index {
                schema_version: 2,
                media_type: oci_index(),
                manifests: Vec::new(),
            })?;
            // Written last: without this file the folder is not a layout yet.
            layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Self::open(path)
    }

    /// Returns the path of the layout.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns names and descriptors of the images.
    pub fn images(&self) -> Result<Vec<(Option<String>, Descriptor)>, LayoutError> {
        let entries = self.index()?.manifests.into_iter();
        Ok(entries.map(|entry| (entry.annotations.get(media::REF_NAME).cloned(), entry)).collect())
    }

    /// Returns the image stored under `name`.
    pub fn image(&self, name: &str) -> Result<Descriptor, LayoutError> {
        let images = self.images()?;
        if let Some((_, found)) = images.iter().find(|(entry, _)| entry.as_deref() == Some(name)) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = images.iter().filter_map(|(name, _)| name.as_deref()).collect();
        let present = if names.is_empty() { "none with a name".to_owned() } else { names.join(", ") };
        Err(LayoutError::NoImage { path: self.path.clone(), name: name.to_owned(), present })
    }

    /// Stores a blob.
    pub fn put(&self, content: &[u8]) -> Result<(), LayoutError> {
        self.write(&blob_path(Digest::of(content)), content)
    }

    /// Points `name` at a stored image, instead of the previous one.
    pub fn name(&self, name: &str, mut image: Descriptor) -> Result<(), LayoutError> {
        image.annotations.insert(media::REF_NAME.to_owned(), name.to_owned());
        let mut index = self.index()?;
        index.manifests.retain(|entry| entry.annotations.get(media::REF_NAME).is_none_or(|n| n != name));
        index.manifests.push(image);
        self.write_index(&index)
    }

    /// Adds a stored manifest to the index without a name, for one that refers to another manifest.
    pub fn list(&self, manifest: Descriptor) -> Result<(), LayoutError> {
        let mut index = self.index()?;
        if index.manifests.iter().all(|entry| entry.digest != manifest.digest) {
            index.manifests.push(manifest);
            self.write_index(&index)?;
        }
        Ok(())
    }

    /// Reads content, and checks it against its descriptor.
    pub fn get(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let digest = descriptor.digest;
        let damaged = |why| LayoutError::Damaged { path: self.path.clone(), digest, why };
        if descriptor.size > BLOB_LIMIT {
            return Err(damaged(format!("its size of {} bytes is beyond {BLOB_LIMIT}", descriptor.size)));
        }
        let content = self.read(&blob_path(digest), BLOB_LIMIT)?;
        if content.len() as u64 != descriptor.size {
            return Err(damaged(format!("{} bytes instead of {}", content.len(), descriptor.size)));
        }
        if Digest::of(&content) != digest {
            return Err(damaged("its content has another digest".to_owned()));
        }
        Ok(content)
    }

    fn index(&self) -> Result<Index, LayoutError> {
        serde_json::from_slice(&self.read("index.json", 4 << 20)?)
            .map_err(|e| LayoutError::NotLayout { path: self.path.clone(), why: format!("index.json: {e}") })
    }

    fn write_index(&self, index: &Index) -> Result<(), LayoutError> {
        let text = serde_json::to_vec(index).map_err(|e| LayoutError::NotLayout {
            path: self.path.clone(),
            why: format!("index.json cannot be written: {e}"),
        })?;
        self.write("index.json", &text)
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.path.join(name);
        let mut content = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut content))
            .map_err(|source| LayoutError::Io { path: path.clone(), source })?;
        if content.len() as u64 > limit {
            let source = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
            return Err(LayoutError::Io { path, source });
        }
        Ok(content)
    }

    /// Renames a temporary file, so that no reader sees half a file.
    fn write(&self, name: &str, content: &[u8]) -> Result<(), LayoutError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{}.{}", name.replace('/', "-"), std::process::id()));
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        });
        written.map_err(|source| {
            // The first error is the one to report.
            let _ = fs::remove_file(&beside);
            LayoutError::Io { path, source }
        })
    }
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_finds_images_by_name_and_notices_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/layout");
        assert!(matches!(OciLayout::open(&path), Err(LayoutError::Io { .. })));
        let layout = OciLayout::open_or_create(&path).unwrap();
        let (old, new) =
            (Descriptor::of(media::OCI_MANIFEST, b"old"), Descriptor::of(media::OCI_MANIFEST, b"new"));
        layout.put(b"old").unwrap();
        layout.put(b"new").unwrap();
        layout.name("a:b", old).unwrap();
        layout.name("a:b", new.clone()).unwrap();
        let layout = OciLayout::open_or_create(&path).unwrap();
        assert_eq!(layout.images().unwrap().len(), 1);
        let found = layout.image("a:b").unwrap();
        assert_eq!(layout.get(&found).unwrap(), b"new");
        assert!(layout.image("a:c").unwrap_err().to_string().contains("a:b"));

        fs::write(path.join(blob_path(new.digest)), b"NEW").unwrap();
        assert!(matches!(layout.get(&found), Err(LayoutError::Damaged { .. })));
        fs::write(path.join(blob_path(new.digest)), b"longer").unwrap();
        assert!(matches!(layout.get(&found), Err(LayoutError::Damaged { .. })));
        fs::write(path.join("oci-layout"), br#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
        assert!(matches!(OciLayout::open(&path), Err(LayoutError::NotLayout { .. })));
    }
}

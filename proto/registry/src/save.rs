use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{RegistryAccess, RegistryError};
use bpfman_image_format::{
    Descriptor, Digest, ImageReference, LayoutError, OciLayout, TransferProgress, media, referrers_tag,
    signature_tag,
};

/// Reason why an image was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The layout cannot be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The registry did not return it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A document of the image is malformed.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Name of the document.
        what: String,
        /// Defect of the document.
        why: String,
    },
    /// The archive cannot be written.
    #[error("{path}: {source}")]
    Archive {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

/// Image in a layout.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Name of the image in the layout.
    pub name: String,
    /// Digest of index or manifest.
    pub digest: Digest,
    /// Number of documents with signatures that were saved.
    pub signatures: usize,
    /// Reasons why signatures may be missing, such as refusals of the registry.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

const MAX_REFERRERS: usize = 256;

const DEPTH: usize = 3;

const MAX_WARNINGS: usize = 8;

/// Copies an image, and the signatures of it and of its members, into `layout`. `progress` gets the bytes received.
pub async fn save(
    image: &ImageReference,
    layout: &OciLayout,
    access: impl Into<RegistryAccess>,
    progress: Option<TransferProgress<'_>>,
) -> Result<Saved, SaveError> {
    let registry = Arc::new(Registry::new(image, access.into(), RegistryUse::Pull)?);
    let name = match (image.digest(), image.tag()) {
        (None, None) => image.at_tag("latest"),
        _ => image.clone(),
    };
    let mut saving =
        Saving { registry, layout, subjects: BTreeSet::new(), progress, came: 0, warnings: Vec::new() };
    let (root, bytes) = saving.manifest(&name.target()).await?;
    saving.content(&bytes, DEPTH).await?;
    layout.name(&name.to_string(), root.clone())?;
    saving.subjects.insert(root.digest);
    let mut signatures = 0;
    for subject in saving.subjects.clone() {
        for tag in [signature_tag(subject), referrers_tag(subject)] {
            let found = saving.signatures_at(&tag).await;
            if let Some(list) = saving.if_answered(found)? {
                layout.name(&name.at_tag(&tag).to_string(), list)?;
                signatures += 1;
            }
        }
        signatures += saving.referrers(subject).await?;
    }
    let warnings = saving.warnings;
    Ok(Saved { name: name.to_string(), digest: root.digest, signatures, warnings })
}

struct Saving<'a> {
    registry: Arc<Registry>,
    layout: &'a OciLayout,
    subjects: BTreeSet<Digest>,
    progress: Option<TransferProgress<'a>>,
    came: u64,
    warnings: Vec<String>,
}

impl Saving<'_> {
    async fn signatures_at(&mut self, tag: &str) -> Result<Descriptor, SaveError> {
        let (list, bytes) = self.manifest(tag).await?;
        self.content(&bytes, DEPTH).await?;
        Ok(list)
    }

    fn if_answered<T>(&mut self, found: Result<T, SaveError>) -> Result<Option<T>, SaveError> {
        match found {
            Ok(found) => return Ok(Some(found)),
            Err(SaveError::Registry(RegistryError::NotFound(_))) => {}
            // Continue after a refusal, but not without an answer: further requests would fail, too.
            Err(
                error @ (SaveError::Registry(
                    RegistryError::Unauthorized { .. } | RegistryError::Refused { .. },
                )
                | SaveError::Malformed { .. }),
            ) => {
                self.warn(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn warn(&mut self, why: String) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(format!("signatures may be missing: {why}"));
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.came += bytes.len() as u64;
        if let Some(progress) = self.progress {
            progress(self.came, 0);
        }
    }

    async fn manifest(&self, target: &str) -> Result<(Descriptor, Vec<u8>), SaveError> {
        let (bytes, _) = self.registry.manifest(target).await?;
        let document = self.parse(&bytes, target)?;
        let kind = document.media_type.unwrap_or_else(|| {
            if document.config.is_some() { media::OCI_MANIFEST } else { media::OCI_INDEX }.to_owned()
        });
        self.layout.put(&bytes)?;
        Ok((Descriptor::of(&kind, &bytes), bytes))
    }

    async fn content(&mut self, bytes: &[u8], depth: usize) -> Result<(), SaveError> {
        let document = self.parse(bytes, "a manifest")?;
        for blob in document.config.iter().chain(&document.layers) {
            if self.layout.get(blob).is_err() {
                let content = self.registry.blob(blob).await?;
                self.count(&content);
                self.layout.put(&content)?;
            }
        }
        for member in document.manifests {
            let depth = depth.checked_sub(1).ok_or_else(|| SaveError::Malformed {
                what: format!("the index in {}", self.registry.image().name()),
                why: "indexes nested too deep".to_owned(),
            })?;
            match self.manifest(&member.digest.to_string()).await {
                Ok((_, bytes)) => {
                    self.subjects.insert(member.digest);
                    Box::pin(self.content(&bytes, depth)).await?;
                }
                // Some registries list members that they do not have.
                Err(SaveError::Registry(RegistryError::NotFound(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Saves the signatures among the referrers; skips attestations and SBOMs, which may be large.
    async fn referrers(&mut self, subject: Digest) -> Result<usize, SaveError> {
        let mut signatures = 0;
        for entry in self.listed(subject).await? {
            let found = self.manifest(&entry.digest.to_string()).await;
            let Some((referrer, bytes)) = self.if_answered(found)? else { continue };
            let is_signature = |layer: &Descriptor| {
                layer.media_type == media::SIMPLE_SIGNING
                    || layer.media_type.starts_with(media::SIGSTORE_BUNDLE)
            };
            if self.parse(&bytes, "a referrer").is_ok_and(|parsed| parsed.layers.iter().any(is_signature)) {
                let content = self.content(&bytes, DEPTH).await;
                if self.if_answered(content)?.is_some() {
                    self.layout.list(referrer)?;
                    signatures += 1;
                }
            }
        }
        Ok(signatures)
    }

    async fn listed(&mut self, subject: Digest) -> Result<Vec<Descriptor>, SaveError> {
        let what = format!("the list of the referrers of {subject}");
        let mut listed = Vec::new();
        let registry = Arc::clone(&self.registry);
        let mut pages = registry.referrers(subject)?;
        while listed.len() <= MAX_REFERRERS {
            let page = pages.next().await.map_err(SaveError::from);
            if let (Err(error @ SaveError::Registry(RegistryError::NotFound(_))), false) =
                (&page, listed.is_empty())
            {
                self.warn(error.to_string());
            }
            let Some(Some(page)) = self.if_answered(page)? else { break };
            // Some registries return a web page instead of a list.
            let page = self.parse(&page, &what);
            listed.extend(self.if_answered(page)?.into_iter().flat_map(|list| list.manifests));
        }
        if listed.len() > MAX_REFERRERS {
            listed.truncate(MAX_REFERRERS);
            self.warn(format!("more than {MAX_REFERRERS}, the most that are looked at, are in {what}"));
        }
        Ok(listed)
    }

    fn parse(&self, bytes: &[u8], what: &str) -> Result<Document, SaveError> {
        serde_json::from_slice(bytes).map_err(|error| SaveError::Malformed {
            what: format!("{what} of {}", self.registry.image().name()),
            why: error.to_string(),
        })
    }
}

/// Packs a layout into a tar, with the same bytes for the same layout. The file appears when it is complete.
pub fn archive(layout: &OciLayout, to: &Path) -> Result<(), SaveError> {
    let failed = |source| SaveError::Archive { path: to.to_owned(), source };
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    let packed = pack(layout.path(), &part).and_then(|()| std::fs::rename(&part, to));
    packed.map_err(|source| {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&part);
        failed(source)
    })
}

fn pack(layout: &Path, to: &Path) -> io::Result<()> {
    let mut blobs: Vec<_> =
        std::fs::read_dir(layout.join("blobs/sha256"))?.collect::<io::Result<Vec<_>>>()?;
    blobs.sort_by_key(std::fs::DirEntry::file_name);
    // Incomplete files have names that begin with a dot.
    let blobs = blobs.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let blobs = blobs.filter(|name| !name.starts_with('.')).map(|name| format!("blobs/sha256/{name}"));
    let mut archive = tar::Builder::new(BufWriter::new(File::create(to)?));
    for name in ["oci-layout".to_owned(), "index.json".to_owned()].into_iter().chain(blobs) {
        let file = File::open(layout.join(&name))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, &name, file)?;
    }
    let mut file = archive.into_inner()?;
    file.flush()?;
    file.get_ref().sync_all()
}

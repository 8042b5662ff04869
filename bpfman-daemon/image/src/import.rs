//! Images from a disk instead of a registry: an OCI layout, as a folder or as a tar of one, signatures included.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bpfman_image_format::manifest::{self, ImageDocument};
use bpfman_image_format::{Descriptor, Digest, Hasher, ImageReference, media, referrers_tag};
use serde::Deserialize;

use crate::access::Asker;
use crate::blocking::blocking;
use crate::cache::storage;
use crate::find_signatures::SignatureSource;
use crate::helper::{DocumentAnswer, VerifierClient};
use crate::registry::Sink as _;
use crate::session::{Brought, LoadSession};
use crate::staging::Staging;
use crate::{ImageError, ImageStore, Limits, VerifiedBy};

/// Entries of an archive that are looked at.
const MAX_ENTRIES: usize = 8192;
/// Bytes of `index.json`.
const INDEX_LIMIT: u64 = 4 << 20;
/// Bytes of all content of one layout.
const TOTAL_LIMIT: u64 = 1 << 30;

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub name: String,
    /// Digest of index or manifest.
    pub digest: Digest,
    /// What the policy says.
    pub outcome: ImportOutcome,
}

/// What the policy says of an imported image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It may be loaded.
    Verified(VerifiedBy),
    /// It may not, for this reason. Nothing of it was kept.
    Refused(String),
}

/// The images of a layout, by the names that they were stored under.
pub(crate) struct ImportedLayout {
    path: String,
    entries: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// Copies the content of a layout beside the cache. Content is checked by its digest, so nothing of it has to be trusted.
pub(crate) fn copy(
    staging: &Arc<Staging>,
    path: &Path,
    limits: &Limits,
) -> Result<ImportedLayout, ImageError> {
    let shown = path.display().to_string();
    let malformed = |why: String| ImageError::Malformed { what: shown.clone(), source: why.into() };
    let mut copying = Copying { staging, limits, left: TOTAL_LIMIT, index: None, shown: &shown };
    if fs::metadata(path).map_err(storage(path))?.is_dir() {
        let index = path.join("index.json");
        copying.file("index.json", &mut File::open(&index).map_err(storage(&index))?)?;
        let blobs = path.join("blobs/sha256");
        for entry in fs::read_dir(&blobs).map_err(storage(&blobs))? {
            let entry = entry.map_err(storage(&blobs))?;
            let file = entry.path();
            // Links would lead out of the folder.
            if entry.file_type().map_err(storage(&file))?.is_file() {
                let name = format!("blobs/sha256/{}", entry.file_name().to_string_lossy());
                copying.file(&name, &mut File::open(&file).map_err(storage(&file))?)?;
            }
        }
    } else {
        let file = io::BufReader::new(File::open(path).map_err(storage(path))?);
        let mut archive = tar::Archive::new(file);
        let unreadable = |error: io::Error| malformed(format!("it is no tar of an OCI layout: {error}"));
        // Raw: names that matter fit into a header, and others are not to be read into memory.
        for (count, entry) in archive.entries().map_err(unreadable)?.raw(true).enumerate() {
            let mut entry = entry.map_err(unreadable)?;
            if count == MAX_ENTRIES {
                return Err(malformed(format!("it has more than {MAX_ENTRIES} entries")));
            }
            if entry.header().entry_type().is_file() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
                copying.file(&name, &mut entry)?;
            }
        }
    }
    let index = copying.index.ok_or_else(|| malformed("it has no index.json".to_owned()))?;
    let index: Index = manifest::object(&index).map_err(|why| malformed(format!("index.json: {why}")))?;
    Ok(ImportedLayout { path: shown, entries: index.manifests })
}

impl ImageStore {
    /// Takes the images and signatures of an OCI layout, a folder or a tar of one, into the cache, as far as the policy lets
    /// them in, and says of each what the policy says of it. Touches no network.
    pub async fn import(&self, path: &Path) -> Result<Vec<Imported>, ImageError> {
        let staging = Arc::new(Staging::new(self.cache.clone()));
        let (limits, path, beside) = (self.limits, path.to_owned(), Arc::clone(&staging));
        let layout = blocking(move || copy(&beside, &path, &limits)).await?;
        let mut imported = Vec::new();
        let named = names(&layout)?;
        let seconds = self.limits.overall_timeout.as_secs();
        for (image, digest) in named.iter().filter(|(image, _)| !is_signature_tag(image)) {
            // One for each: what one image does to its verifier is nothing to the others.
            let verifier = self.verifier();
            let taken = async {
                let brought = bring(&verifier, &staging, &named, (image, *digest), &self.limits).await?;
                self.import_one(image, brought, &staging, &verifier).await
            };
            let late = || ImageError::Timeout { image: image.to_string(), seconds };
            let taken = tokio::time::timeout(self.limits.overall_timeout, taken).await;
            let (image, digest) = (image.clone(), *digest);
            let outcome = match taken.unwrap_or_else(|_| Err(late())) {
                Ok(verified_by) => ImportOutcome::Verified(verified_by),
                Err(error) => ImportOutcome::Refused(error.to_string()),
            };
            imported.push(Imported { name: image.to_string(), digest, outcome });
        }
        Ok(imported)
    }

    async fn import_one(
        &self,
        image: &ImageReference,
        brought: Brought,
        staging: &Arc<Staging>,
        verifier: &Arc<VerifierClient>,
    ) -> Result<VerifiedBy, ImageError> {
        let platform = self.platform.ok_or(ImageError::Host(std::env::consts::ARCH))?;
        let policy = self.policy();
        let decision = policy.decide(image)?;
        let session = LoadSession {
            staging: Arc::clone(staging),
            brought: Some(brought),
            ..self.session(image, Asker::Daemon, None, verifier, None)
        };
        let loaded = self.run(&session, false, &policy, decision, platform).await?;
        Ok(loaded.verified_by)
    }
}

/// Entries of an index whose signatures are taken: more than there are platforms.
const MOST_PLATFORMS: usize = 64;

struct Copying<'a> {
    staging: &'a Arc<Staging>,
    limits: &'a Limits,
    left: u64,
    index: Option<Vec<u8>>,
    shown: &'a str,
}

impl Copying<'_> {
    fn file(&mut self, name: &str, content: &mut impl Read) -> Result<(), ImageError> {
        let failed = |source| ImageError::Storage { path: self.shown.into(), source };
        if name == "index.json" {
            let mut bytes = Vec::new();
            content.take(INDEX_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
            self.index = Some(bytes);
            return Ok(());
        }
        let digits = name.strip_prefix("blobs/sha256/").map(|digits| format!("sha256:{digits}"));
        let Some(expected) = digits.and_then(|digits| digits.parse::<Digest>().ok()) else { return Ok(()) };
        let what = format!("the blob {expected} in {}", self.shown);
        let limit = self.limits.layer.min(self.left);
        let (mut writer, mut hasher, mut size) = (self.staging.unbounded_writer()?, Hasher::default(), 0);
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = content.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            size += read as u64;
            if size > limit {
                return Err(ImageError::TooLarge { what, size: None, limit });
            }
            hasher.update(&buffer[..read]);
            writer.write(&buffer[..read])?;
        }
        let found = hasher.finish();
        if found != expected {
            return Err(ImageError::WrongDigest { what, expected, found });
        }
        self.left -= size;
        self.staging.hold(expected, writer);
        Ok(())
    }
}

/// What has a name in a layout, signatures too: repository, tag or digest, and what that leads to.
fn names(layout: &ImportedLayout) -> Result<Vec<(ImageReference, Digest)>, ImageError> {
    let name_of = |entry: &Descriptor| {
        // containerd's name first: it is always the whole one.
        let names = ["io.containerd.image.name", media::REF_NAME].map(|name| entry.annotations.get(name));
        let image = names.into_iter().flatten().find_map(|name| name.parse::<ImageReference>().ok())?;
        Some((image, entry.digest))
    };
    let named: Vec<_> = layout.entries.iter().filter_map(name_of).collect();
    if named.iter().all(|(image, _)| is_signature_tag(image)) {
        let why = "it has no image whose name begins with a registry (annotation org.opencontainers.image.ref.name)";
        return Err(ImageError::Malformed { what: layout.path.clone(), source: why.into() });
    }
    Ok(named)
}

/// One of the images with what signs it. Nothing is kept yet: the policy has to let it in first.
async fn bring(
    verifier: &VerifierClient,
    staging: &Arc<Staging>,
    named: &[(ImageReference, Digest)],
    (image, digest): (&ImageReference, Digest),
    limits: &Limits,
) -> Result<Brought, ImageError> {
    let name = image.name();
    let of_repository = named.iter().filter(|(other, _)| other.name() == name);
    let tags = of_repository.map(|(other, digest)| (other.target(), *digest)).collect();
    let source = Beside { staging, name, tags };
    let mut subjects = vec![digest];
    if let Some(bytes) = source.read(digest, limits.manifest).await?
        && let DocumentAnswer::Read(ImageDocument::Index(entries)) = verifier.manifest(&bytes).await?
    {
        subjects.extend(entries.iter().take(MOST_PLATFORMS).map(|entry| entry.digest));
    }
    let mut signatures = BTreeMap::new();
    for subject in subjects {
        signatures.insert(subject, verifier.find_all_signatures(&source, subject, limits).await?.signatures);
    }
    Ok(Brought { digest, signatures })
}

fn is_signature_tag(image: &ImageReference) -> bool {
    let bare = image.tag().map(|tag| tag.strip_suffix(".sig").unwrap_or(tag));
    let digest =
        bare.and_then(|tag| tag.strip_prefix("sha256-")).and_then(|hex| format!("sha256:{hex}").parse().ok());
    digest.is_some_and(|digest: Digest| bare == Some(referrers_tag(digest).as_str()))
}

/// A repository whose content was just copied beside the cache.
struct Beside<'a> {
    staging: &'a Arc<Staging>,
    name: String,
    tags: BTreeMap<String, Digest>,
}

impl Beside<'_> {
    async fn read(&self, digest: Digest, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let staging = Arc::clone(self.staging);
        blocking(move || staging.blob(digest, limit)).await
    }
}

impl SignatureSource for Beside<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn manifest(&self, target: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        match target.parse().ok().or_else(|| self.tags.get(target).copied()) {
            Some(digest) => self.read(digest, limit).await,
            None => Ok(None),
        }
    }

    async fn referrers(&self, _: Digest) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
        Ok(None)
    }

    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let missing =
            || ImageError::NotFound { what: format!("the blob {} of {}", descriptor.digest, self.name) };
        if descriptor.size > limit {
            let what = format!("the blob {} of {}", descriptor.digest, self.name);
            return Err(ImageError::TooLarge { what, size: Some(descriptor.size), limit });
        }
        self.read(descriptor.digest, limit).await?.ok_or_else(missing)
    }
}

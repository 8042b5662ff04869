use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_image_format::manifest::{self, ImageDocument, ImageManifest, MAX_INDEXES};
use bpfman_image_format::{Descriptor, Digest, Endian, ImageReference, Platform, TransferProgress};

use crate::access::{ImageCaller, Right};
use crate::blocking::blocking;
use crate::cache::{ImageCache, storage};
use crate::error::ErrorCause;
use crate::worker::{Checked, DocumentAnswer, RegistryClient, Unpacked, VerifierClient};

use crate::policy_evaluation::PolicyVerdict;
use crate::signature::Signature;
use crate::staging::Staging;
use crate::{ImageError, Limits, Policy, PolicyDecision};

pub(crate) struct LoadSession<'a> {
    pub(crate) cache: Arc<ImageCache>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) limits: Limits,
    pub(crate) image: &'a ImageReference,
    pub(crate) asker: ImageCaller,
    pub(crate) registry: Option<RegistryClient>,
    pub(crate) verifier: Arc<VerifierClient>,
    pub(crate) brought: Option<ArchivedImage>,
    pub(crate) progress: Option<TransferProgress<'a>>,
    pub(crate) confirmed: Mutex<BTreeSet<Digest>>,
    pub(crate) found: Mutex<BTreeMap<Digest, Vec<Signature>>>,
}

pub(crate) struct ArchivedImage {
    pub(crate) digest: Digest,
    pub(crate) signatures: BTreeMap<Digest, Vec<Signature>>,
}

pub(crate) struct Resolved {
    pub(crate) digest: Digest,
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: ImageManifest,
    pub(crate) indexes: Vec<Digest>,
    pub(crate) verdict: PolicyVerdict,
    /// The cache may serve this caller without a request to the registry.
    pub(crate) allowed: bool,
}

impl<'a> LoadSession<'a> {
    pub(crate) async fn resolve(
        &self,
        ask: bool,
        policy: &Policy,
        decision: PolicyDecision<'_>,
        platform: Platform,
    ) -> Result<Resolved, ImageError> {
        let digest = self.digest(ask).await?;
        let allowed = self.brought.is_some() || self.cache.allows(&self.image.name(), digest, &self.asker)?;
        // From here on only digests are used: the tag may move meanwhile.
        let (mut indexes, mut manifest_digest) = (Vec::new(), digest);
        let manifest = loop {
            let bytes = self.manifest(manifest_digest, allowed).await?;
            let entries = match self.parse(&bytes, manifest_digest).await? {
                ImageDocument::Image(manifest) => break manifest,
                ImageDocument::Index(_) if indexes.len() == MAX_INDEXES => {
                    return Err(self.malformed(manifest_digest, "indexes nested too deep".into()));
                }
                ImageDocument::Index(entries) => entries,
            };
            let entry = manifest::choose(&entries, platform).ok_or_else(|| ImageError::NoPlatform {
                image: self.image.to_string(),
                wanted: platform.to_string(),
                present: manifest::platforms(&entries),
            })?;
            indexes.push(manifest_digest);
            manifest_digest = entry.digest;
        };
        for digest in indexes.iter().chain([&manifest_digest]) {
            policy.check_digest(self.image, *digest)?;
        }
        let verdict = self.verify(policy, decision, digest, manifest_digest).await?;
        Ok(Resolved { digest, manifest_digest, manifest, indexes, verdict, allowed })
    }

    async fn digest(&self, ask: bool) -> Result<Digest, ImageError> {
        if let Some(brought) = &self.brought {
            return Ok(brought.digest);
        }
        if let Some(digest) = self.image.digest() {
            return Ok(digest);
        }
        if !ask && let Some(digest) = self.cache.tag(self.image)? {
            return Ok(digest);
        }
        let registry = self.online(|| self.image.to_string())?;
        let (bytes, digest) = registry.manifest(&self.image.target(), self.limits.manifest).await?;
        self.stage(bytes).await?;
        self.confirm(digest);
        Ok(digest)
    }

    async fn manifest(&self, digest: Digest, allowed: bool) -> Result<Vec<u8>, ImageError> {
        let (staging, limit) = (Arc::clone(&self.staging), self.limits.manifest);
        if let Some(bytes) = blocking(move || staging.blob(digest, limit)).await? {
            if allowed || self.is_confirmed(digest) {
                return Ok(bytes);
            }
            let Some(registry) = &self.registry else {
                return Err(ImageError::NotYours { image: self.image.to_string() });
            };
            registry.check_manifest(digest).await?;
            self.confirm(digest);
            return Ok(bytes);
        }
        let registry = self.online(|| format!("the manifest {digest} of {}", self.image.name()))?;
        let (bytes, _) = registry.manifest(&digest.to_string(), self.limits.manifest).await?;
        self.confirm(digest);
        self.stage(bytes).await
    }

    async fn stage(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ImageError> {
        let staging = Arc::clone(&self.staging);
        blocking(move || staging.put(&bytes).map(|()| bytes)).await
    }

    fn confirm(&self, digest: Digest) {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }

    fn is_confirmed(&self, digest: Digest) -> bool {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }

    /// Returns whether the caller is allowed or the registry confirms the content: a manifest can name any digest.
    async fn may_use(&self, descriptor: &Descriptor, allowed: bool) -> bool {
        if allowed || self.is_confirmed(descriptor.digest) || self.staging.has_fetched(descriptor.digest) {
            return true;
        }
        let Some(registry) = &self.registry else { return false };
        let has = registry.check_blob(descriptor).await.is_ok();
        if has {
            self.confirm(descriptor.digest);
        }
        has
    }

    pub(crate) async fn document(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        allowed: bool,
    ) -> Result<Vec<u8>, ImageError> {
        let digest = descriptor.digest;
        self.check_size(descriptor, limit)?;
        let staging = Arc::clone(&self.staging);
        let bytes = match blocking(move || staging.blob(digest, limit)).await? {
            Some(bytes) if self.may_use(descriptor, allowed).await => bytes,
            _ => {
                self.download(descriptor, limit, None).await?;
                let staging = Arc::clone(&self.staging);
                blocking(move || staging.blob(digest, limit)).await?.ok_or_else(|| self.lost(descriptor))?
            }
        };
        if bytes.len() as u64 != descriptor.size {
            let source = format!("{} bytes instead of {}", bytes.len(), descriptor.size).into();
            return Err(ImageError::Malformed { what: self.blob_name(descriptor), source });
        }
        Ok(bytes)
    }

    /// Returns the object of the first layer with one, and the layers read, within the limit of one layer.
    pub(crate) async fn object_of<'m>(
        &self,
        resolved: &'m Resolved,
        policy: &Policy,
        expected: Endian,
    ) -> Result<(Vec<&'m Descriptor>, Unpacked), ImageError> {
        let (mut failure, mut bytes, mut layers) = (None, 0_u64, Vec::new());
        for layer in resolved.manifest.objects() {
            self.check_size(layer, self.limits.layer)?;
            bytes = bytes.saturating_add(layer.size);
            if bytes > self.limits.layer {
                break;
            }
            policy.check_digest(self.image, layer.digest)?;
            layers.push(layer);
            match self.object(layer, resolved.allowed, expected).await {
                Ok(unpacked) => return Ok((layers, unpacked)),
                // The layer may hold a licence, a description or a host program: try the next one.
                Err(
                    error @ (ImageError::NoObject { .. }
                    | ImageError::Unsupported { .. }
                    | ImageError::Bytecode { .. }),
                ) => {
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| self.malformed(resolved.manifest_digest, "it has no layer".into())))
    }

    /// The layer is verified while it is read, and never held in memory as a whole.
    pub(crate) async fn object(
        &self,
        descriptor: &Descriptor,
        allowed: bool,
        expected: Endian,
    ) -> Result<Unpacked, ImageError> {
        let digest = descriptor.digest;
        self.check_size(descriptor, self.limits.layer)?;
        for fetched in [false, true] {
            if let Some(file) = self.staging.open(digest)?
                && (fetched || self.may_use(descriptor, allowed).await)
            {
                match self.verifier.unpack(file, descriptor, self.image, expected).await? {
                    Checked::Whole(result) => return result,
                    Checked::Damaged => {
                        let staging = Arc::clone(&self.staging);
                        blocking(move || staging.discard(digest)).await?;
                    }
                }
            }
            if !fetched {
                self.download(descriptor, self.limits.layer, self.progress).await?;
            }
        }
        Err(self.lost(descriptor))
    }

    async fn download(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        progress: Option<TransferProgress<'_>>,
    ) -> Result<(), ImageError> {
        let registry = self.online(|| self.blob_name(descriptor))?;
        let mut writer = self.staging.writer()?;
        registry.blob(descriptor, limit, &mut writer, progress).await?;
        self.confirm(descriptor.digest);
        self.staging.hold(descriptor.digest, writer);
        Ok(())
    }

    fn check_size(&self, descriptor: &Descriptor, limit: u64) -> Result<(), ImageError> {
        if descriptor.size > limit {
            let (what, size) = (self.blob_name(descriptor), Some(descriptor.size));
            return Err(ImageError::TooLarge { what, size, limit });
        }
        Ok(())
    }

    fn blob_name(&self, descriptor: &Descriptor) -> String {
        format!("the blob {} of {}", descriptor.digest, self.image.name())
    }

    fn lost(&self, descriptor: &Descriptor) -> ImageError {
        let why = io::Error::other("the disk gave back other bytes than were written");
        storage(&self.cache.blob_path(descriptor.digest))(why)
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.registry.is_none() && self.brought.is_none()
    }

    pub(crate) fn right(&self) -> Option<Right> {
        let ImageCaller::With(right) = &self.asker else { return None };
        let registry = self.registry.as_ref()?;
        Some(if registry.used_password() { right.clone() } else { Right::Everybody })
    }

    async fn parse(&self, bytes: &[u8], digest: Digest) -> Result<ImageDocument, ImageError> {
        match self.verifier.manifest(bytes).await? {
            DocumentAnswer::Read(document) => Ok(document),
            DocumentAnswer::Malformed(why) => Err(self.malformed(digest, why.into())),
            DocumentAnswer::Unsupported(why) => {
                let what = format!("the manifest {digest} of {}", self.image.name());
                Err(ImageError::Unsupported { what, source: why.into() })
            }
        }
    }

    fn malformed(&self, digest: Digest, source: ErrorCause) -> ImageError {
        ImageError::Malformed { what: format!("the manifest {digest} of {}", self.image.name()), source }
    }

    pub(crate) fn online(&self, what: impl FnOnce() -> String) -> Result<&RegistryClient, ImageError> {
        self.registry.as_ref().ok_or_else(|| match &self.brought {
            Some(_) => {
                let source = format!("{} is missing", what()).into();
                ImageError::Malformed { what: "the archive".to_owned(), source }
            }
            None => ImageError::NotCached { what: what(), image: self.image.to_string() },
        })
    }
}

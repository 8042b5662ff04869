//! One load: the cache first, the registry where it may be asked.

use std::fs::File;
use std::sync::Arc;

use bpfman_image_format::{Descriptor, Digest, ImageReference, Platform, Progress};

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::manifest::{self, Document, Manifest};
use crate::registry::Registry;
use crate::signature::Signature;
use crate::signers::{self, Counted};
use crate::unpack::{Checked, Read};
use crate::version::{Version, VersionError};
use crate::{Decision, ImageError, Limits, Policy, Requirement, Signers, VerifiedBy, find_signatures};

/// Everything one load needs.
pub(crate) struct Session<'a> {
    pub(crate) cache: Arc<Cache>,
    pub(crate) limits: Limits,
    pub(crate) image: &'a ImageReference,
    /// None: the network is not used.
    pub(crate) registry: Option<Registry>,
    pub(crate) progress: Option<Progress<'a>>,
}

/// An image whose digest is settled, and whose signatures satisfied the policy.
pub(crate) struct Resolved {
    /// What the name leads to: an index or a manifest.
    pub(crate) digest: Digest,
    /// The manifest of this machine's platform.
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: Manifest,
    /// True if it was chosen from an index.
    pub(crate) from_index: bool,
    pub(crate) verified_by: VerifiedBy,
}

impl<'a> Session<'a> {
    /// From the name to the manifest for `platform`, verified. `ask` has the registry say what a tag names now,
    /// instead of what it named last time.
    pub(crate) async fn resolve(
        &self,
        ask: bool,
        policy: &Policy,
        decision: Decision<'_>,
        platform: Platform,
    ) -> Result<Resolved, ImageError> {
        let digest = self.digest(ask).await?;
        // From here on only digests count: the tag may move meanwhile.
        let bytes = self.manifest(digest).await?;
        let (manifest, manifest_digest, from_index) = match self.parse(&bytes, digest)? {
            Document::Image(manifest) => (manifest, digest, false),
            Document::Index(entries) => {
                let entry =
                    manifest::choose(&entries, platform).map_err(|present| ImageError::NoPlatform {
                        image: self.image.to_string(),
                        wanted: platform.to_string(),
                        present,
                    })?;
                let bytes = self.manifest(entry.digest).await?;
                match self.parse(&bytes, entry.digest)? {
                    Document::Image(manifest) => (manifest, entry.digest, true),
                    Document::Index(_) => {
                        return Err(self.malformed(entry.digest, "an index within an index".to_owned()));
                    }
                }
            }
        };
        for digest in [digest, manifest_digest] {
            policy.check_digest(self.image, digest)?;
        }
        let verified_by = self.verify(policy, decision, digest, manifest_digest).await?;
        if self.registry.is_some() && self.image.digest().is_none() {
            // Only now: a tag that was moved to something unsigned must not take the place of what may be loaded.
            let (cache, image) = (self.cache.clone(), self.image.clone());
            blocking(move || cache.set_tag(&image, digest)).await?;
        }
        Ok(Resolved { digest, manifest_digest, manifest, from_index, verified_by })
    }

    async fn digest(&self, ask: bool) -> Result<Digest, ImageError> {
        if let Some(digest) = self.image.digest() {
            return Ok(digest);
        }
        if !ask && let Some(digest) = self.cache.tag(self.image)? {
            return Ok(digest);
        }
        let registry = self.online(|| self.image.to_string())?;
        let (bytes, digest) = registry.manifest(&self.image.target(), self.limits.manifest).await?;
        let cache = self.cache.clone();
        blocking(move || cache.put(&bytes)).await?;
        Ok(digest)
    }

    async fn manifest(&self, digest: Digest) -> Result<Vec<u8>, ImageError> {
        if let Some(bytes) = self.cache.blob(digest, self.limits.manifest)? {
            return Ok(bytes);
        }
        let registry = self.online(|| format!("the manifest {digest} of {}", self.image.name()))?;
        let (bytes, _) = registry.manifest(&digest.to_string(), self.limits.manifest).await?;
        let cache = self.cache.clone();
        blocking(move || cache.put(&bytes).map(|()| bytes)).await
    }

    /// A small document by descriptor, from the cache or through it.
    pub(crate) async fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let digest = descriptor.digest;
        self.check_size(descriptor, limit)?;
        let cache = self.cache.clone();
        let bytes = match blocking(move || cache.blob(digest, limit)).await? {
            Some(bytes) => bytes,
            None => {
                self.download(descriptor, limit, None).await?;
                let cache = self.cache.clone();
                blocking(move || cache.blob(digest, limit)).await?.ok_or_else(|| self.lost(descriptor))?
            }
        };
        if bytes.len() as u64 != descriptor.size {
            let why = format!("{} bytes instead of {}", bytes.len(), descriptor.size);
            return Err(ImageError::Malformed { what: self.blob_name(descriptor), why });
        }
        Ok(bytes)
    }

    /// A layer by descriptor, from the cache or through it, read by `read` as a stream that is verified while it is
    /// read: never whole in memory.
    pub(crate) async fn layer<T: Send + 'static>(
        &self,
        descriptor: &Descriptor,
        read: impl Fn(File) -> Read<T>,
    ) -> Result<T, ImageError> {
        let digest = descriptor.digest;
        self.check_size(descriptor, self.limits.layer)?;
        for fetched in [false, true] {
            if let Some(file) = self.cache.open(digest)? {
                match blocking(read(file)).await? {
                    Checked::Whole(result) => return result,
                    Checked::Damaged => {
                        let cache = self.cache.clone();
                        blocking(move || cache.discard(digest)).await?;
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
        progress: Option<Progress<'_>>,
    ) -> Result<(), ImageError> {
        let registry = self.online(|| self.blob_name(descriptor))?;
        let mut writer = self.cache.writer()?;
        registry.blob(descriptor, limit, &mut writer, progress).await?;
        let digest = descriptor.digest;
        blocking(move || writer.keep(digest)).await
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
        let why = "the disk gave back other bytes than were written".to_owned();
        ImageError::Malformed { what: self.blob_name(descriptor), why }
    }

    async fn verify(
        &self,
        policy: &Policy,
        decision: Decision<'_>,
        index: Digest,
        image: Digest,
    ) -> Result<VerifiedBy, ImageError> {
        let rule = match decision {
            Decision::Off => return Ok(VerifiedBy::Off),
            Decision::Uncovered => {
                return Ok(VerifiedBy::Warned { reason: format!("no rule covers {}", self.image.name()) });
            }
            Decision::Rule(rule) => rule,
        };
        let name = rule.pattern.to_string();
        if let Some(pinned) = &rule.digests
            && !pinned.contains(&index)
            && !pinned.contains(&image)
        {
            return Err(ImageError::NotPinned { image: self.image.to_string(), digest: index, rule: name });
        }
        let Requirement::Signed(signers) = &rule.requirement else {
            return Ok(VerifiedBy::UnsignedAllowed { rule: name });
        };
        let subjects = if index == image { vec![index] } else { vec![index, image] };
        // What is cached may be older than the signature: ask once more before giving up.
        let rounds: &[bool] = if self.registry.is_some() { &[false, true] } else { &[false] };
        let (mut seen, mut why, mut way_back) = (0, String::new(), None);
        for fresh in rounds {
            seen = 0;
            for subject in &subjects {
                let signatures = self.signatures(*subject, *fresh).await?;
                seen += signatures.len();
                match signers::count(&signatures, *subject, signers, policy.revoked()) {
                    Ok(counted) => {
                        match self.check_version(&name, signers, &counted).await {
                            // A newer signature may carry a higher number.
                            Err(error @ ImageError::WayBack { .. }) => {
                                way_back = Some(error);
                                continue;
                            }
                            result => result?,
                        }
                        let (signers, signed_at) = (counted.signers, counted.signed_at);
                        return Ok(VerifiedBy::Signers { rule: name, subject: *subject, signers, signed_at });
                    }
                    Err(fault) if signatures.is_empty() && !why.is_empty() => drop(fault),
                    Err(fault) => why = fault,
                }
            }
        }
        if let Some(error) = way_back {
            return Err(error);
        }
        let (image, digest) = (self.image.to_string(), index);
        Err(if seen == 0 {
            ImageError::Unsigned { image, digest, rule: name }
        } else {
            ImageError::Untrusted { image, digest, rule: name, why }
        })
    }

    /// Refuses a way back: the number that signatures carry must not be below one that was accepted before.
    async fn check_version(
        &self,
        rule: &str,
        signers: &Signers,
        counted: &Counted,
    ) -> Result<(), ImageError> {
        let Some(annotation) = &signers.increasing else { return Ok(()) };
        let refuse = |why: String| ImageError::WayBack {
            image: self.image.to_string(),
            rule: rule.to_owned(),
            annotation: annotation.clone(),
            why,
        };
        let mut offered: Option<Version> = None;
        for text in &counted.versions {
            let version: Version = text.parse().map_err(|error: VersionError| refuse(error.to_string()))?;
            // Whoever signed anew may have raised it: the highest counts.
            offered = offered.max(Some(version));
        }
        let offered = offered.ok_or_else(|| refuse("no signature carries it".to_owned()))?;
        let (cache, name, key) = (self.cache.clone(), self.image.name(), annotation.clone());
        let lowest = {
            let offered = offered.clone();
            blocking(move || cache.raise_floor(&name, &key, offered)).await?
        };
        if offered < lowest {
            return Err(refuse(format!("it says {offered}, and {lowest} was accepted before")));
        }
        Ok(())
    }

    /// The signatures of a digest, from the cache unless they have to be fresh.
    async fn signatures(&self, digest: Digest, fresh: bool) -> Result<Vec<Signature>, ImageError> {
        if !fresh && let Some(signatures) = self.cache.signatures(digest)? {
            return Ok(signatures);
        }
        let registry = self.online(|| format!("the signatures of {}@{digest}", self.image.name()))?;
        let found = find_signatures::find(registry, digest, &self.limits).await?;
        let cache = self.cache.clone();
        blocking(move || cache.set_signatures(digest, &found).map(|()| found)).await
    }

    fn parse(&self, bytes: &[u8], digest: Digest) -> Result<Document, ImageError> {
        manifest::parse(bytes).map_err(|why| self.malformed(digest, why))
    }

    fn malformed(&self, digest: Digest, why: String) -> ImageError {
        ImageError::Malformed { what: format!("the manifest {digest} of {}", self.image.name()), why }
    }

    fn online(&self, what: impl FnOnce() -> String) -> Result<&Registry, ImageError> {
        self.registry.as_ref().ok_or_else(|| ImageError::NotCached { what: what() })
    }
}

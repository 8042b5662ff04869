//! One load: the cache first, the registry where it may be asked.

use std::sync::Arc;

use bpfman_image_format::{
    Credential, Descriptor, Digest, ImageReference, Platform, Progress, media, signature_tag,
};
use serde::Deserialize;

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::manifest::{self, Document, Manifest};
use crate::registry::Registry;
use crate::signature::{self, Signature};
use crate::{Decision, ImageError, Limits, Requirement, VerifiedBy};

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
    /// Makes a session with the registry at hand.
    pub(crate) fn connected(
        cache: Arc<Cache>,
        limits: Limits,
        image: &'a ImageReference,
        credential: Option<&Credential>,
        progress: Option<Progress<'a>>,
    ) -> Result<Self, ImageError> {
        let registry = Some(Registry::new(image, credential, limits)?);
        Ok(Self { cache, limits, image, registry, progress })
    }

    /// From the name to the manifest for `platform`, verified. `ask` has the registry say what a tag names now,
    /// instead of what it named last time.
    pub(crate) async fn resolve(
        &self,
        ask: bool,
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
        let verified_by = self.verify(decision, digest, manifest_digest).await?;
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

    /// Content by descriptor, from the cache or through it.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        progress: Option<Progress<'_>>,
    ) -> Result<Vec<u8>, ImageError> {
        let digest = descriptor.digest;
        let what = || format!("the blob {digest} of {}", self.image.name());
        if descriptor.size > limit {
            return Err(ImageError::TooLarge { what: what(), size: Some(descriptor.size), limit });
        }
        let cache = self.cache.clone();
        let bytes = match blocking(move || cache.blob(digest, limit)).await? {
            Some(bytes) => bytes,
            None => {
                let registry = self.online(what)?;
                let mut writer = self.cache.writer()?;
                registry.blob(descriptor, limit, &mut |piece| writer.write(piece), progress).await?;
                let cache = self.cache.clone();
                let stored = blocking(move || {
                    writer.keep(digest)?;
                    cache.blob(digest, limit)
                });
                stored.await?.ok_or_else(|| ImageError::Malformed {
                    what: what(),
                    why: "the disk gave back other bytes than were written".to_owned(),
                })?
            }
        };
        if bytes.len() as u64 != descriptor.size {
            let why = format!("{} bytes instead of {}", bytes.len(), descriptor.size);
            return Err(ImageError::Malformed { what: what(), why });
        }
        Ok(bytes)
    }

    async fn verify(
        &self,
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
        let Requirement::Keys { keys, minimum } = &rule.requirement else {
            return Ok(VerifiedBy::UnsignedAllowed { rule: name });
        };
        let subjects = if index == image { vec![index] } else { vec![index, image] };
        // What is cached may be older than the signature: ask once more before giving up.
        let rounds: &[bool] = if self.registry.is_some() { &[false, true] } else { &[false] };
        let (mut seen, mut why) = (0, String::new());
        for fresh in rounds {
            seen = 0;
            for subject in &subjects {
                let signatures = self.signatures(*subject, *fresh).await?;
                seen += signatures.len();
                match signature::verify(&signatures, *subject, keys, *minimum) {
                    Ok(keys) => return Ok(VerifiedBy::Keys { rule: name, subject: *subject, keys }),
                    Err(fault) if signatures.is_empty() && !why.is_empty() => drop(fault),
                    Err(fault) => why = fault,
                }
            }
        }
        let (image, digest) = (self.image.to_string(), index);
        Err(if seen == 0 {
            ImageError::Unsigned { image, digest, rule: name }
        } else {
            ImageError::Untrusted { image, digest, rule: name, why }
        })
    }

    /// The signatures of a digest, from the cache unless they have to be fresh.
    async fn signatures(&self, digest: Digest, fresh: bool) -> Result<Vec<Signature>, ImageError> {
        if !fresh && let Some(signatures) = self.cache.signatures(digest)? {
            return Ok(signatures);
        }
        let registry = self.online(|| format!("the signatures of {}@{digest}", self.image.name()))?;
        let found = self.fetch_signatures(registry, digest).await?;
        let cache = self.cache.clone();
        blocking(move || cache.set_signatures(digest, &found).map(|()| found)).await
    }

    async fn fetch_signatures(
        &self,
        registry: &Registry,
        digest: Digest,
    ) -> Result<Vec<Signature>, ImageError> {
        #[derive(Deserialize)]
        struct SignatureManifest {
            layers: Vec<Descriptor>,
        }
        let tag = signature_tag(digest);
        let what = || format!("the signature manifest {}:{tag}", self.image.name());
        let bytes = match registry.manifest(&tag, self.limits.signature_manifest).await {
            Ok((bytes, _)) => bytes,
            Err(ImageError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let manifest: SignatureManifest =
            manifest::object(&bytes).map_err(|why| ImageError::Malformed { what: what(), why })?;
        let layers: Vec<_> =
            manifest.layers.into_iter().filter(|layer| layer.media_type == media::SIMPLE_SIGNING).collect();
        if layers.len() > self.limits.signatures {
            let why = format!("{} signatures; at most {} are read", layers.len(), self.limits.signatures);
            return Err(ImageError::Malformed { what: what(), why });
        }
        let mut found = Vec::new();
        for layer in layers {
            use base64::prelude::{BASE64_STANDARD, Engine as _};
            let Some(signature) = layer
                .annotations
                .get(media::SIGNATURE_ANNOTATION)
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
            else {
                continue;
            };
            let mut payload = Vec::new();
            let mut sink = |piece: &[u8]| {
                payload.extend_from_slice(piece);
                Ok(())
            };
            registry.blob(&layer, self.limits.signature, &mut sink, None).await?;
            found.push(Signature::SimpleSigning { payload, signature });
        }
        Ok(found)
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

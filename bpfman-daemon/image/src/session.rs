//! One load: the cache first, the registry where it may be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_image_format::{Descriptor, Digest, ImageReference, Platform, Progress};

use crate::access::{Asker, Right};
use crate::blocking::blocking;
use crate::cache::{Cache, storage};
use crate::find_signatures::{self, Found};
use crate::floors::{FloorOf, Offer};
use crate::manifest::{self, Document, Manifest};
use crate::registry::Registry;
use crate::signature::Signature;
use crate::signers::{self, Counted};
use crate::staging::Staging;
use crate::unpack::{Checked, Read};
use crate::version::{Version, VersionError};
use crate::{Decision, ImageError, Limits, Policy, Requirement, Signed, Signers, TooFewSigners, VerifiedBy};

/// Bytes of the signatures of one digest that are remembered, well below what a record may have in their encoding.
const SIGNATURES_ROOM: usize = 1 << 20;

/// Everything one load needs.
pub(crate) struct Session<'a> {
    pub(crate) cache: Arc<Cache>,
    /// What is fetched, and kept only if the image is let in.
    pub(crate) staging: Arc<Staging>,
    pub(crate) limits: Limits,
    pub(crate) image: &'a ImageReference,
    /// Who may have it from the cache without the registry's word.
    pub(crate) asker: Asker,
    /// None: the network is not used.
    pub(crate) registry: Option<Registry>,
    /// An image that somebody brought, instead of one that a registry or the cache names.
    pub(crate) brought: Option<Brought>,
    pub(crate) progress: Option<Progress<'a>>,
    /// What the registry gave out or confirmed in this load.
    pub(crate) confirmed: Mutex<BTreeSet<Digest>>,
    /// Signatures that were found in this load: kept if the image is let in.
    pub(crate) found: Mutex<BTreeMap<Digest, Vec<Signature>>>,
}

/// An image from an archive: what its name means, and its signatures by what they sign.
pub(crate) struct Brought {
    pub(crate) digest: Digest,
    pub(crate) signatures: BTreeMap<Digest, Vec<Signature>>,
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
    pub(crate) verdict: Verdict,
    /// True if the cache may give it to this caller without the registry's word.
    pub(crate) allowed: bool,
}

/// Why an image may be loaded.
pub(crate) struct Verdict {
    pub(crate) verified_by: VerifiedBy,
    pub(crate) signed: Option<Signed>,
    /// The version to be accepted with the image.
    pub(crate) offer: Option<Offer>,
    /// Signatures that counted, by what they sign.
    pub(crate) counted: BTreeMap<Digest, Vec<Signature>>,
}

impl Verdict {
    pub(crate) fn unsigned(verified_by: VerifiedBy) -> Self {
        Self { verified_by, signed: None, offer: None, counted: BTreeMap::new() }
    }
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
        let allowed = self.brought.is_some() || self.cache.allows(&self.image.name(), digest, &self.asker)?;
        // From here on only digests count: the tag may move meanwhile.
        let bytes = self.manifest(digest, allowed).await?;
        let (manifest, manifest_digest, from_index) = match self.parse(&bytes, digest)? {
            Document::Image(manifest) => (manifest, digest, false),
            Document::Index(entries) => {
                let entry = manifest::choose(&entries, platform).ok_or_else(|| ImageError::NoPlatform {
                    image: self.image.to_string(),
                    wanted: platform.to_string(),
                    present: manifest::platforms(&entries),
                })?;
                let bytes = self.manifest(entry.digest, allowed).await?;
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
        let verdict = self.verify(policy, decision, digest, manifest_digest).await?;
        Ok(Resolved { digest, manifest_digest, manifest, from_index, verdict, allowed })
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

    /// A manifest, from the cache if this caller is allowed to have it from there, or has the registry's word for it.
    async fn manifest(&self, digest: Digest, allowed: bool) -> Result<Vec<u8>, ImageError> {
        let (staging, limit) = (Arc::clone(&self.staging), self.limits.manifest);
        if let Some(bytes) = blocking(move || staging.blob(digest, limit)).await? {
            if allowed || self.is_confirmed(digest) {
                return Ok(bytes);
            }
            let Some(registry) = &self.registry else {
                return Err(ImageError::NotYours { image: self.image.to_string() });
            };
            registry.has_manifest(digest).await?;
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

    /// True if the cache's copy may be used: this caller is allowed to have it, or the registry says that this repository
    /// has it. A manifest can name content of any other image.
    async fn may_use(&self, descriptor: &Descriptor, allowed: bool) -> bool {
        if allowed || self.is_confirmed(descriptor.digest) || self.staging.has_fetched(descriptor.digest) {
            return true;
        }
        let Some(registry) = &self.registry else { return false };
        // Where this fails, the download says why.
        let has = registry.has_blob(descriptor).await.is_ok();
        if has {
            self.confirm(descriptor.digest);
        }
        has
    }

    /// A small document by descriptor, from the cache or through it.
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
        allowed: bool,
        read: impl Fn(File) -> Read<T>,
    ) -> Result<T, ImageError> {
        let digest = descriptor.digest;
        self.check_size(descriptor, self.limits.layer)?;
        for fetched in [false, true] {
            if let Some(file) = self.staging.open(digest)?
                && (fetched || self.may_use(descriptor, allowed).await)
            {
                match blocking(read(file)).await? {
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
        progress: Option<Progress<'_>>,
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

    async fn verify(
        &self,
        policy: &Policy,
        decision: Decision<'_>,
        index: Digest,
        image: Digest,
    ) -> Result<Verdict, ImageError> {
        let rule = match decision {
            Decision::Off => return Ok(Verdict::unsigned(VerifiedBy::Off)),
            Decision::Uncovered => {
                let reason = format!("no rule covers {}", self.image.name());
                return Ok(Verdict::unsigned(VerifiedBy::Warned { reason }));
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
            return Ok(Verdict::unsigned(VerifiedBy::UnsignedAllowed { rule: name }));
        };
        let subjects = if index == image { vec![index] } else { vec![index, image] };
        // What is cached may be older than the signature: ask once more before giving up.
        let rounds: &[bool] = if self.registry.is_some() { &[false, true] } else { &[false] };
        let (mut seen, mut why, mut way_back, mut fault, mut cut) =
            (0, None::<TooFewSigners>, None, None, false);
        for fresh in rounds {
            (seen, fault, cut) = (0, None, false);
            for subject in &subjects {
                let found = self.signatures(*subject, *fresh).await?;
                seen += found.signatures.len();
                fault = fault.or(found.fault);
                cut |= found.cut;
                let (signatures, counted) = self.count(found.signatures, *subject, signers, policy).await?;
                match counted {
                    Ok(counted) => match self.offer(&name, signers, &counted) {
                        // A newer signature may carry a higher number.
                        Err(error @ ImageError::WayBack { .. }) => way_back = Some(error),
                        Err(error) => return Err(error),
                        Ok(offer) => return Ok(verdict(name, *subject, &signatures, counted, offer)),
                    },
                    Err(_) if signatures.is_empty() && why.is_some() => {}
                    Err(missing) => why = Some(missing),
                }
            }
        }
        if let Some(error) = way_back {
            return Err(error);
        }
        let (image, digest) = (self.image.to_string(), index);
        Err(match fault {
            Some(fault) if seen == 0 && !cut => fault,
            None if seen == 0 && !cut => ImageError::Unsigned { image, digest, rule: name },
            _ => {
                let why = TooFewSigners { cut, ..why.unwrap_or_default() };
                ImageError::Untrusted { image, digest, rule: name, why: Box::new(why.into()) }
            }
        })
    }

    /// Verifies signatures, off the thread that answers clients: there may be many of them.
    async fn count(
        &self,
        signatures: Vec<Signature>,
        subject: Digest,
        signers: &Signers,
        policy: &Policy,
    ) -> Result<(Vec<Signature>, Result<Counted, TooFewSigners>), ImageError> {
        let (image, signers, revoked) = (self.image.clone(), signers.clone(), policy.revoked().clone());
        blocking(move || {
            let counted = signers::count(&signatures, &image, subject, &signers, &revoked);
            Ok((signatures, counted))
        })
        .await
    }

    /// The version that the signatures carry. Refuses a way back: it must not be below one that was accepted before.
    ///
    /// What counts is the repository that the signatures name, whatever name was asked for: a copy elsewhere is as old as
    /// the original. Where they name none, all that the rule covers has one floor.
    fn offer(&self, rule: &str, signers: &Signers, counted: &Counted) -> Result<Option<Offer>, ImageError> {
        let Some(annotation) = &signers.increasing else { return Ok(None) };
        let refuse = |why: String| self.way_back(rule, annotation, why);
        let mut highest: Option<Version> = None;
        for text in &counted.versions {
            let version: Version = text.parse().map_err(|error: VersionError| refuse(error.to_string()))?;
            // Whoever signed anew may have raised it: the highest counts.
            highest = highest.max(Some(version));
        }
        let version = highest.ok_or_else(|| refuse("no signature carries it".to_owned()))?;
        let named = counted.signed.repositories.iter().cloned();
        let mut floors: BTreeSet<_> = named.chain([self.image.name()]).map(FloorOf::Repository).collect();
        let of_rule = FloorOf::Rule(rule.to_owned());
        if counted.signed.repositories.is_empty() {
            floors.insert(of_rule.clone());
        }
        let offer = Offer { annotation: annotation.clone(), version, floors, raises: [of_rule].into() };
        match self.cache.forbidding(&offer)? {
            Some(lowest) => Err(self.forbidden(rule, &offer, &lowest)),
            None => Ok(Some(offer)),
        }
    }

    pub(crate) fn forbidden(&self, rule: &str, offer: &Offer, lowest: &Version) -> ImageError {
        let why = format!("it says {}, and {lowest} was accepted before", offer.version);
        self.way_back(rule, &offer.annotation, why)
    }

    fn way_back(&self, rule: &str, annotation: &str, why: String) -> ImageError {
        let (image, rule) = (self.image.to_string(), rule.to_owned());
        ImageError::WayBack { image, rule, annotation: annotation.to_owned(), why }
    }

    /// The signatures of a digest, from the cache unless they have to be fresh.
    async fn signatures(&self, digest: Digest, fresh: bool) -> Result<Found, ImageError> {
        if !fresh && let Some(signatures) = self.brought_and_known(digest)? {
            return Ok(Found { signatures, ..Found::default() });
        }
        let registry = self.online(|| format!("the signatures of {}@{digest}", self.image.name()))?;
        let found = find_signatures::find(registry, digest, &self.limits).await?;
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(digest, found.signatures.clone());
        Ok(found)
    }

    /// True if nothing but the cache is used.
    pub(crate) fn is_quick(&self) -> bool {
        self.registry.is_none() && self.brought.is_none()
    }

    /// The right that was used for what the registry gave out; none if it was not asked.
    pub(crate) fn right(&self) -> Option<Right> {
        let Asker::With(right) = &self.asker else { return None };
        let registry = self.registry.as_ref()?;
        Some(if registry.used_password() { right.clone() } else { Right::Everybody })
    }

    /// What to remember of the signatures that were found, by what they sign: those that counted before others, as much as
    /// a record has room for.
    pub(crate) fn signatures_to_keep(
        &self,
        resolved: &Resolved,
    ) -> Result<BTreeMap<Digest, Vec<Signature>>, ImageError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.brought.is_some() {
            for subject in [resolved.digest, resolved.manifest_digest] {
                found.insert(subject, self.brought_and_known(subject)?.unwrap_or_default());
            }
        }
        for (digest, counted) in &resolved.verdict.counted {
            let Some(all) = found.get_mut(digest) else { continue };
            let others: Vec<_> = all.drain(..).filter(|one| !counted.contains(one)).collect();
            all.extend(counted.iter().cloned().chain(others));
        }
        for all in found.values_mut() {
            let mut room = SIGNATURES_ROOM;
            all.retain(|signature| {
                let fits = signature.size() <= room;
                room = room.saturating_sub(signature.size());
                fits
            });
        }
        Ok(found)
    }

    /// The signatures of the cache, and before them those that were brought, which may be fewer.
    fn brought_and_known(&self, digest: Digest) -> Result<Option<Vec<Signature>>, ImageError> {
        let known = self.cache.signatures(digest)?;
        let Some(brought) = &self.brought else { return Ok(known) };
        let mut all = brought.signatures.get(&digest).cloned().unwrap_or_default();
        let new: Vec<_> = known.into_iter().flatten().filter(|one| !all.contains(one)).collect();
        all.extend(new);
        Ok(Some(all))
    }

    fn parse(&self, bytes: &[u8], digest: Digest) -> Result<Document, ImageError> {
        manifest::parse(bytes).map_err(|why| self.malformed(digest, why.to_string()))
    }

    fn malformed(&self, digest: Digest, why: String) -> ImageError {
        ImageError::Malformed { what: format!("the manifest {digest} of {}", self.image.name()), why }
    }

    fn online(&self, what: impl FnOnce() -> String) -> Result<&Registry, ImageError> {
        self.registry.as_ref().ok_or_else(|| ImageError::NotCached { what: what() })
    }
}

fn verdict(
    rule: String,
    subject: Digest,
    signatures: &[Signature],
    counted: Counted,
    offer: Option<Offer>,
) -> Verdict {
    let at = |place: &usize| signatures.get(*place).cloned();
    let mut signed = counted.signed;
    if let Some(offer) = &offer {
        signed.annotations.insert(offer.annotation.clone(), offer.version.to_string());
    }
    Verdict {
        signed: Some(signed),
        offer,
        counted: [(subject, counted.places.iter().filter_map(at).collect())].into(),
        verified_by: VerifiedBy::Signers {
            rule,
            subject,
            signers: counted.signers,
            signed_at: counted.signed_at,
        },
    }
}

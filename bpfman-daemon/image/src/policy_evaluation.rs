use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use bpfman_image_format::Digest;

use crate::found_signatures::FoundSignatures;
use crate::session::{LoadSession, Resolved};
use crate::signature::Signature;
use crate::signature_place::SignaturePlace;
use crate::signers::CountedSigners;
use crate::version::{Version, VersionError};
use crate::version_floors::{FloorScope, Offer};
use crate::{ImageError, Policy, PolicyDecision, Requirement, Signed, Signers, TooFewSigners, VerifiedBy};

/// Maximum size of recorded signatures, in bytes: encoded, they stay well below the limit of a record.
const SIGNATURES_ROOM: usize = 1 << 20;

pub(crate) struct PolicyVerdict {
    pub(crate) verified_by: VerifiedBy,
    pub(crate) signed: Option<Signed>,
    pub(crate) offer: Option<Offer>,
    pub(crate) counted: BTreeMap<Digest, Vec<Signature>>,
}

impl PolicyVerdict {
    pub(crate) fn unsigned(verified_by: VerifiedBy) -> Self {
        Self { verified_by, signed: None, offer: None, counted: BTreeMap::new() }
    }
}

impl LoadSession<'_> {
    pub(crate) async fn verify(
        &self,
        policy: &Policy,
        decision: PolicyDecision<'_>,
        index: Digest,
        image: Digest,
    ) -> Result<PolicyVerdict, ImageError> {
        let rule = match decision {
            PolicyDecision::Off => return Ok(PolicyVerdict::unsigned(VerifiedBy::Off)),
            PolicyDecision::Uncovered => {
                let reason = format!("no rule covers {}", self.image.name());
                return Ok(PolicyVerdict::unsigned(VerifiedBy::Warned { reason }));
            }
            PolicyDecision::Rule(rule) => rule,
        };
        let name = rule.pattern.to_string();
        if let Some(pinned) = &rule.digests
            && !pinned.contains(&index)
            && !pinned.contains(&image)
        {
            return Err(ImageError::NotPinned { image: self.image.to_string(), digest: index, rule: name });
        }
        let Requirement::Signed(signers) = &rule.requirement else {
            return Ok(PolicyVerdict::unsigned(VerifiedBy::UnsignedAllowed { rule: name }));
        };
        let subjects = if index == image { vec![index] } else { vec![index, image] };
        // Cached signatures may be outdated: search the registry before giving up.
        let rounds: &[bool] = if self.registry.is_some() { &[false, true] } else { &[false] };
        let (mut seen, mut why, mut rollback_error) = (Seen::default(), None::<TooFewSigners>, None);
        for fresh in rounds {
            seen = Seen::default();
            for subject in &subjects {
                let known = if *fresh { None } else { self.brought_and_known(*subject)? };
                let is_known = known.is_some();
                let mut found =
                    FoundSignatures { signatures: known.unwrap_or_default(), ..FoundSignatures::default() };
                for place in SignaturePlace::ALL {
                    let is_last = is_known || Some(&place) == SignaturePlace::ALL.last();
                    if !is_known {
                        self.look(*subject, place, &mut found).await?;
                    }
                    if !is_last && signers.increasing.is_some() {
                        continue;
                    }
                    let (signatures, revoked) = (&found.signatures, policy.revoked());
                    let counted =
                        self.verifier.count(signatures, self.image, *subject, signers, revoked).await?;
                    match counted {
                        Ok(counted) => match self.offer(&name, signers, &counted) {
                            Err(error @ ImageError::WayBack { .. }) => rollback_error = Some(error),
                            Err(error) => return Err(error),
                            Ok(offer) => return Ok(verdict(name, *subject, signatures, counted, offer)),
                        },
                        Err(_) if signatures.is_empty() && why.is_some() => {}
                        Err(missing) => why = Some(missing),
                    }
                    if is_last {
                        break;
                    }
                }
                seen.add(found);
                seen.known |= is_known;
            }
            // The registry was just searched: a second search would find the same.
            if !seen.known {
                break;
            }
        }
        if let Some(error) = rollback_error {
            return Err(error);
        }
        Err(self.too_few(index, name, seen, why.unwrap_or_default()))
    }

    async fn look(
        &self,
        subject: Digest,
        place: SignaturePlace,
        found: &mut FoundSignatures,
    ) -> Result<(), ImageError> {
        let registry = self.online(|| format!("the signatures of {}@{subject}", self.image.name()))?;
        let (limits, layers) = found.rest(&self.limits);
        found.add(self.verifier.find_signatures(registry, subject, &limits, place, layers).await?);
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(subject, found.signatures.clone());
        Ok(())
    }

    fn too_few(&self, digest: Digest, rule: String, seen: Seen, why: TooFewSigners) -> ImageError {
        let (image, Seen { signatures, fault, unanswered, cut, .. }) = (self.image.to_string(), seen);
        let is_none = signatures == 0 && !cut;
        match (unanswered, fault) {
            (Some(source), _) if source.may_pass() => {
                let found = (!is_none).then(|| Box::new(TooFewSigners { cut, ..why }.into()));
                let source = Box::new(source);
                ImageError::SignaturesUnanswered { image, digest, rule, found, source }
            }
            (_, Some(fault)) if is_none => fault,
            (unanswered, _) if is_none => {
                ImageError::Unsigned { image, digest, rule, unanswered: unanswered.map(Box::new) }
            }
            (unanswered, _) => {
                let unanswered = unanswered.map(|error| error.to_string());
                let why = TooFewSigners { cut, unanswered, ..why };
                ImageError::Untrusted { image, digest, rule, why: Box::new(why.into()) }
            }
        }
    }

    /// Refuses a version below the floor of the repository that the signatures name, not the requested one: a
    /// copy is as old as the original. Images without such a name share the rule's floor.
    fn offer(
        &self,
        rule: &str,
        signers: &Signers,
        counted: &CountedSigners,
    ) -> Result<Option<Offer>, ImageError> {
        let Some(annotation) = &signers.increasing else { return Ok(None) };
        let refuse = |why: String| self.rollback_error(rule, annotation, why);
        let mut highest: Option<Version> = None;
        for text in &counted.versions {
            let version: Version = text.parse().map_err(|error: VersionError| refuse(error.to_string()))?;
            highest = highest.max(Some(version));
        }
        let version = highest.ok_or_else(|| refuse("no signature carries it".to_owned()))?;
        let named = counted.signed.repositories.iter().cloned();
        let mut floors: BTreeSet<_> = named.chain([self.image.name()]).map(FloorScope::Repository).collect();
        let of_rule = FloorScope::Rule(rule.to_owned());
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
        let why = format!("it has {}, and {lowest} was accepted before", offer.version);
        self.rollback_error(rule, &offer.annotation, why)
    }

    fn rollback_error(&self, rule: &str, annotation: &str, why: String) -> ImageError {
        let (image, rule) = (self.image.to_string(), rule.to_owned());
        ImageError::WayBack { image, rule, annotation: annotation.to_owned(), why }
    }

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
        for (digest, all) in &mut found {
            // The same content may have other signatures under another name.
            let known = self.cache.signatures(*digest)?.into_iter().flatten();
            let others: Vec<_> = known.filter(|one| !all.contains(one)).collect();
            all.extend(others);
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

    fn brought_and_known(&self, digest: Digest) -> Result<Option<Vec<Signature>>, ImageError> {
        let known = self.cache.signatures(digest)?;
        let Some(brought) = &self.brought else { return Ok(known) };
        let mut all = brought.signatures.get(&digest).cloned().unwrap_or_default();
        let new: Vec<_> = known.into_iter().flatten().filter(|one| !all.contains(one)).collect();
        all.extend(new);
        Ok(Some(all))
    }
}

#[derive(Default)]
struct Seen {
    signatures: usize,
    fault: Option<ImageError>,
    unanswered: Option<ImageError>,
    cut: bool,
    known: bool,
}

impl Seen {
    fn add(&mut self, found: FoundSignatures) {
        self.signatures += found.signatures.len();
        self.fault = self.fault.take().or(found.fault);
        self.unanswered = self.unanswered.take().or(found.unanswered);
        self.cut |= found.cut;
    }
}

fn verdict(
    rule: String,
    subject: Digest,
    signatures: &[Signature],
    counted: CountedSigners,
    offer: Option<Offer>,
) -> PolicyVerdict {
    let at = |place: &usize| signatures.get(*place).cloned();
    let mut signed = counted.signed;
    if let Some(offer) = &offer {
        signed.annotations.insert(offer.annotation.clone(), offer.version.to_string());
    }
    PolicyVerdict {
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

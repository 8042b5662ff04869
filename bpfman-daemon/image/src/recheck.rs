//! Repeated policy decisions about loaded images: for programs that are restored without a fetch.

use bpfman_image_format::{Digest, ImageReference};

use crate::version_floors::{FloorScope, Offer};
use crate::{
    Caller, Evidence, EvidenceError, FetchPolicy, ImageError, ImageRequest, ImageStore, Mode, Policy,
    PolicyDecision, PolicyRule, Requirement, Signed, Signers, VerifiedBy,
};

impl ImageStore {
    /// Evaluates the present policy for an image, without the network. If the image is not in the cache, the
    /// evidence in the program's record counts; missing evidence counts against the program.
    pub async fn recheck(
        &self,
        image: &ImageReference,
        evidence: Option<&Evidence>,
    ) -> Result<(), ImageError> {
        let policy = self.policy();
        let digest = evidence.and_then(|evidence| evidence.digests.first().copied());
        if let Some(digest) = digest {
            let request = ImageRequest {
                image: image.at_digest(digest),
                pull_policy: FetchPolicy::Never,
                credential: None,
                caller: Caller::Daemon,
            };
            match self.load(&request, None).await {
                Err(ImageError::NotCached { .. }) => {}
                result => return result.map(drop),
            }
        }
        match self.recheck_evidence(&policy, image, digest, evidence) {
            Err(error) if policy.mode() == Mode::Warn && !matches!(error, ImageError::Revoked { .. }) => {
                tracing::warn!(%image, %error, "an image comes back that the policy does not vouch for");
                Ok(())
            }
            result => result,
        }
    }

    fn recheck_evidence(
        &self,
        policy: &Policy,
        image: &ImageReference,
        digest: Option<Digest>,
        evidence: Option<&Evidence>,
    ) -> Result<(), ImageError> {
        let digests = evidence.map(|evidence| evidence.digests.as_slice()).unwrap_or_default();
        for digest in digests {
            policy.check_digest(image, *digest)?;
        }
        let PolicyDecision::Rule(rule) = policy.decide(image)? else { return Ok(()) };
        let unknown = digest.unwrap_or_else(|| Digest::of(b""));
        if let Some(pinned) = &rule.digests
            && !digests.iter().take(2).any(|digest| pinned.contains(digest))
        {
            let (image, rule) = (image.to_string(), rule.pattern.to_string());
            return Err(ImageError::NotPinned { image, digest: unknown, rule });
        }
        let Requirement::Signed(signers) = &rule.requirement else { return Ok(()) };
        let untrusted = |why: EvidenceError| ImageError::Untrusted {
            image: image.to_string(),
            digest: unknown,
            rule: rule.pattern.to_string(),
            why: Box::new(why.into()),
        };
        let Some(evidence) = evidence else { return Err(untrusted(EvidenceError::Nothing)) };
        check_signers(policy, signers, &evidence.verified_by).map_err(untrusted)?;
        // Older records lack this evidence.
        let Some(signed) = &evidence.signed else { return Err(untrusted(EvidenceError::NotRecorded)) };
        check_signed(image, signers, signed).map_err(untrusted)?;
        self.check_version_again(image, rule, signers, signed)
    }

    fn check_version_again(
        &self,
        image: &ImageReference,
        rule: &PolicyRule,
        signers: &Signers,
        signed: &Signed,
    ) -> Result<(), ImageError> {
        let Some(annotation) = &signers.increasing else { return Ok(()) };
        let refuse = |why: String| ImageError::WayBack {
            image: image.to_string(),
            rule: rule.pattern.to_string(),
            annotation: annotation.clone(),
            why,
        };
        let version = signed.annotations.get(annotation).and_then(|text| text.parse().ok());
        let version = version.ok_or_else(|| refuse("no number of it is recorded".to_owned()))?;
        let named = signed.repositories.iter().cloned();
        let mut floors: std::collections::BTreeSet<_> =
            named.chain([image.name()]).map(FloorScope::Repository).collect();
        if signed.repositories.is_empty() {
            floors.insert(FloorScope::Rule(rule.pattern.to_string()));
        }
        let offer = Offer { annotation: annotation.clone(), version, floors, raises: Default::default() };
        match self.cache.forbidding(&offer)? {
            None => Ok(()),
            Some(lowest) => Err(refuse(format!("it has {}, and {lowest} was accepted since", offer.version))),
        }
    }
}

fn check_signers(policy: &Policy, signers: &Signers, verified_by: &VerifiedBy) -> Result<(), EvidenceError> {
    let VerifiedBy::Signers { signers: then, signed_at, .. } = verified_by else {
        return Err(EvidenceError::LetInBy(verified_by.clone()));
    };
    let found =
        then.iter().filter(|signer| signers.names(signer) && !policy.revoked().covers(signer)).count();
    if found == 0 || found < signers.minimum {
        return Err(EvidenceError::TooFew { found, minimum: signers.minimum });
    }
    if signers.log_required && signed_at.is_none() {
        return Err(EvidenceError::NoLogEntry);
    }
    Ok(())
}

fn check_signed(image: &ImageReference, signers: &Signers, signed: &Signed) -> Result<(), EvidenceError> {
    for (name, wanted) in &signers.annotations {
        if signed.annotations.get(name) != Some(wanted) {
            return Err(EvidenceError::NoAnnotation { name: name.clone(), wanted: wanted.clone() });
        }
    }
    let named: Vec<_> = signed.repositories.iter().map(|name| Some(name.as_str())).collect();
    let named = if named.is_empty() { vec![None] } else { named };
    if !named.into_iter().any(|named| signers.takes_repository(image, named)) {
        return Err(EvidenceError::AnotherRepository);
    }
    Ok(())
}

//! Verification of an image's signatures against a rule.

use std::collections::BTreeMap;

use bpfman_image_format::{Digest, ImageReference};
use bpfmand_image::messages::{CountedSigners, Signature};
use bpfmand_image::{Revoked, SignatureError, Signer, Signers, TooFewSigners};

use super::trust_root::VerifyingRule;
use super::{bundle, simple_signing};

#[derive(Clone, Debug)]
pub(super) struct ValidSignature {
    pub(super) signer: Signer,
    pub(super) annotations: BTreeMap<String, String>,
    /// Repository in the signed document, as written; `None` in formats without one.
    pub(super) repository: Option<String>,
    /// Time of the signature, if a log or an authority proves it, in seconds since 1970.
    pub(super) signed_at: Option<i64>,
}

/// Counts the signers of exactly this digest; the error gives the reason why there are too few.
///
/// `image` is the requested name. All conditions apply to each signature by itself: a signature without the annotations
/// is not completed by another one that has them.
pub(super) fn count(
    signatures: &[Signature],
    image: &ImageReference,
    digest: Digest,
    rule: &Signers,
    revoked: &Revoked,
) -> Result<CountedSigners, TooFewSigners> {
    let mut counted = CountedSigners::default();
    let mut faults: Vec<SignatureError> = Vec::new();
    let verifying = VerifyingRule::new(rule);
    for (place, signature) in signatures.iter().enumerate() {
        match verify(signature, image, digest, &verifying, revoked) {
            Ok(good) => {
                if counted.places.is_empty() {
                    counted.signed.annotations.clone_from(&good.annotations);
                }
                counted.signed.annotations.retain(|name, value| good.annotations.get(name) == Some(value));
                counted.signed.repositories.extend(good.repository.as_deref().and_then(name_of));
                counted.places.insert(place);
                counted.signed_at = counted.signed_at.max(good.signed_at);
                let version = rule.increasing.as_ref().and_then(|name| good.annotations.get(name));
                counted.versions.extend(version.cloned());
                // Two signatures of one signer count once.
                if !counted.signers.contains(&good.signer) {
                    counted.signers.push(good.signer);
                }
            }
            Err(fault) if faults.contains(&fault) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if !counted.signers.is_empty() && counted.signers.len() >= rule.minimum {
        return Ok(counted);
    }
    let (found, minimum, seen) = (counted.signers.len(), rule.minimum, signatures.len());
    Err(TooFewSigners { found, minimum, seen, faults, cut: false, unanswered: None })
}

pub(super) fn name_of(written: &str) -> Option<String> {
    written.parse().ok().map(|image: ImageReference| image.name())
}

fn verify(
    signature: &Signature,
    image: &ImageReference,
    digest: Digest,
    verifying: &VerifyingRule<'_>,
    revoked: &Revoked,
) -> Result<ValidSignature, SignatureError> {
    let rule = verifying.rule;
    let good = match signature {
        Signature::SimpleSigning { payload, signature, material } => {
            simple_signing::verify(payload, signature, material, digest, verifying)?
        }
        Signature::Bundle { json } => bundle::verify(json, digest, verifying)?,
    };
    let signer = &good.signer;
    if revoked.covers(signer) {
        return Err(SignatureError::Revoked(good.signer));
    }
    let missing = |wanted: String| SignatureError::NoAnnotation { signer: signer.clone(), wanted };
    for (name, wanted) in &rule.annotations {
        match good.annotations.get(name) {
            Some(found) if found == wanted => {}
            Some(found) => {
                let (name, found, wanted) = (name.clone(), found.clone(), wanted.clone());
                return Err(SignatureError::WrongAnnotation { signer: signer.clone(), name, found, wanted });
            }
            None => return Err(missing(format!("{name}={wanted}"))),
        }
    }
    check_repository(rule, image, &good)?;
    if let Some(name) = &rule.increasing
        && !good.annotations.contains_key(name)
    {
        return Err(missing(name.clone()));
    }
    Ok(good)
}

/// Refuses a signature for another repository: one image of a registry must not pass for another.
fn check_repository(
    rule: &Signers,
    image: &ImageReference,
    good: &ValidSignature,
) -> Result<(), SignatureError> {
    let signer = || good.signer.clone();
    let written = good.repository.as_deref().filter(|written| !written.is_empty());
    match written {
        _ if rule.takes_repository(image, written) => Ok(()),
        None => Err(SignatureError::NoRepository(signer())),
        Some(written) => Err(SignatureError::AnotherRepository(signer(), written.to_owned())),
    }
}

pub(super) fn identity(
    rule: &Signers,
    result: &sigstore_verify::VerificationResult,
) -> Result<ValidSignature, SignatureError> {
    let whole = result.certificate_verified() && result.tlog_verified();
    let (Some(subject), Some(issuer), true) = (result.identity(), result.issuer(), whole) else {
        return Err(SignatureError::NoIdentity);
    };
    let (subject, issuer) = (subject.as_str().to_owned(), issuer.to_owned());
    if !rule.identities.iter().any(|identity| identity.covers(&issuer, &subject)) {
        return Err(SignatureError::Stranger { subject, issuer });
    }
    let signer = Signer::Identity { issuer, subject };
    let signed_at = signed_at(result);
    Ok(ValidSignature { signer, annotations: BTreeMap::new(), repository: None, signed_at })
}

pub(super) fn signed_at(result: &sigstore_verify::VerificationResult) -> Option<i64> {
    let times = result.verified_timestamps().iter().map(|time| time.as_second());
    times.chain(result.integrated_time().map(|time| time.as_second())).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfman_image_format::SimpleSigningPayload;
    use bpfman_registry::SigningKey;
    use bpfmand_image::TrustedKey;

    fn pair() -> (SigningKey, TrustedKey) {
        let key = SigningKey::generate().unwrap();
        let trusted = TrustedKey::from_pem(&key.public_key().unwrap().to_pem()).unwrap();
        assert_eq!(trusted.fingerprint(), key.public_key().unwrap().fingerprint());
        (key, trusted)
    }

    fn sign(key: &SigningKey, payload: &[u8]) -> Signature {
        let signature = key.sign(payload).unwrap();
        Signature::SimpleSigning { payload: payload.to_vec(), signature, material: Default::default() }
    }

    fn payload(digest: Digest, annotations: &[(&str, &str)]) -> Vec<u8> {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        serde_json::to_vec(&SimpleSigningPayload::new("quay.io/a", digest, &annotations.collect())).unwrap()
    }

    fn rule(keys: &[&TrustedKey], minimum: usize) -> Signers {
        let keys = keys.iter().map(|key| (*key).clone()).collect();
        Signers { keys, minimum, ..Signers::default() }
    }

    fn image() -> ImageReference {
        "quay.io/a:1".parse().unwrap()
    }

    fn judged(
        signatures: &[Signature],
        digest: Digest,
        rule: &Signers,
    ) -> Result<Vec<Signer>, TooFewSigners> {
        count(signatures, &image(), digest, rule, &Revoked::default()).map(|counted| counted.signers)
    }

    #[test]
    fn signature_by_a_named_key_on_this_digest_is_counted() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let signatures = [sign(&key, &payload(digest, &[]))];
        let expected = Ok(vec![Signer::Key(trusted.fingerprint())]);
        assert_eq!(judged(&signatures, digest, &rule(&[&trusted], 1)), expected);
        let text = serde_json::to_string(&signatures).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Signature>>(&text).unwrap(), signatures);
    }

    #[test]
    fn signature_for_another_digest_is_refused() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let other = sign(&key, &payload(Digest::of(b"other"), &[]));
        let error = judged(&[other], digest, &rule(&[&trusted], 1)).unwrap_err();
        assert!(error.to_string().contains("another image"), "{error}");
    }

    #[test]
    fn signature_of_another_type_or_shape_is_refused() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let text = String::from_utf8(payload(digest, &[])).unwrap();
        let other = text.replace("cosign container image signature", "x");
        for text in [other.as_bytes(), b"{}".as_slice(), b"not json"] {
            assert!(judged(&[sign(&key, text)], digest, &rule(&[&trusted], 1)).is_err());
        }
    }

    #[test]
    fn signature_by_another_key_or_over_other_bytes_is_refused() {
        let ((key, trusted), (stranger, _), digest) = (pair(), pair(), Digest::of(b"image"));
        let rule_of_key = rule(&[&trusted], 1);
        assert!(judged(&[sign(&stranger, &payload(digest, &[]))], digest, &rule_of_key).is_err());
        let signature = key.sign(&payload(Digest::of(b"other"), &[])).unwrap();
        let payload = payload(digest, &[]);
        let forged = Signature::SimpleSigning { payload, signature, material: Default::default() };
        assert!(judged(&[forged], digest, &rule_of_key).is_err());
        assert!(judged(&[], digest, &rule_of_key).is_err());
        assert!(judged(&[], digest, &rule(&[], 0)).is_err(), "no rule ever means that nothing is enough");
    }

    #[test]
    fn two_signatures_of_one_key_are_one_signer() {
        let ((one, trusted_one), (two, trusted_two), digest) = (pair(), pair(), Digest::of(b"image"));
        let rule = rule(&[&trusted_one, &trusted_two], 2);
        let text = payload(digest, &[]);
        let again = payload(digest, &[("a", "b")]);
        assert!(judged(&[sign(&one, &text), sign(&one, &again)], digest, &rule).is_err());
        assert_eq!(judged(&[sign(&one, &text), sign(&two, &text)], digest, &rule).unwrap().len(), 2);
    }

    #[test]
    fn annotation_of_one_signer_does_not_validate_another() {
        let ((one, trusted_one), (two, _), digest) = (pair(), pair(), Digest::of(b"image"));
        let mut rule = rule(&[&trusted_one], 1);
        rule.annotations.insert("stage".to_owned(), "production".to_owned());
        let bare = sign(&one, &payload(digest, &[]));
        let strangers = sign(&two, &payload(digest, &[("stage", "production")]));
        let error = judged(&[bare, strangers], digest, &rule).unwrap_err();
        assert!(error.to_string().contains("lacks the annotation stage=production"), "{error}");
        let wrong = sign(&one, &payload(digest, &[("stage", "trial")]));
        assert!(judged(&[wrong], digest, &rule).unwrap_err().to_string().contains("stage=trial"));
        let good = sign(&one, &payload(digest, &[("stage", "production"), ("more", "x")]));
        assert_eq!(judged(&[good], digest, &rule).unwrap().len(), 1);
    }

    #[test]
    fn revoked_key_counts_no_more() {
        let ((one, trusted_one), (two, trusted_two), digest) = (pair(), pair(), Digest::of(b"image"));
        let text = payload(digest, &[]);
        let revoked = Revoked { keys: [trusted_one.fingerprint()].into(), ..Revoked::default() };
        let keys = [&trusted_one, &trusted_two];
        let error = count(&[sign(&one, &text)], &image(), digest, &rule(&keys, 1), &revoked).unwrap_err();
        assert!(error.to_string().contains("revoked key"), "{error}");
        let both = [sign(&one, &text), sign(&two, &text)];
        let counted = count(&both, &image(), digest, &rule(&keys, 1), &revoked).unwrap();
        assert_eq!(counted.signers, [Signer::Key(trusted_two.fingerprint())]);
        assert!(count(&both, &image(), digest, &rule(&keys, 2), &revoked).is_err());
    }

    #[test]
    fn signature_without_the_growing_annotation_is_refused() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let rule = Signers { increasing: Some("version".to_owned()), ..rule(&[&trusted], 1) };
        assert!(judged(&[sign(&key, &payload(digest, &[]))], digest, &rule).is_err());
        let signatures = [sign(&key, &payload(digest, &[("version", "2")]))];
        let counted = count(&signatures, &image(), digest, &rule, &Revoked::default()).unwrap();
        assert_eq!(counted.versions, ["2".to_owned()].into());
    }

    #[test]
    fn a_signature_counts_for_the_repository_that_it_names() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let of = |signed_as: Option<&[&str]>, repository: &str| {
            let payload = SimpleSigningPayload::new(repository, digest, &BTreeMap::new());
            let signature = sign(&key, &serde_json::to_vec(&payload).unwrap());
            let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            let rule = Signers { signed_as: signed_as.map(patterns), ..rule(&[&trusted], 1) };
            judged(&[signature], digest, &rule)
        };
        for own in ["quay.io/a", "Quay.io:443/a", "quay.io/a:v1", ""] {
            assert!(of(None, own).is_ok(), "{own}");
        }
        for other in ["quay.io/b", "quay.io/a/b", "evil.example/quay.io/a", "no name"] {
            let error = of(None, other).unwrap_err();
            assert!(error.to_string().contains("signed_as"), "{error}");
            assert!(of(Some(&["*"]), other).is_ok(), "{other}");
        }
        assert!(of(Some(&["example.com/*", "quay.io/b"]), "quay.io/b").is_ok());
        assert!(of(Some(&["quay.io/b"]), "quay.io/a").is_err());
        assert!(of(Some(&["quay.io/b"]), "").unwrap_err().to_string().contains("names no repository"));
        assert!(of(Some(&["*"]), "").is_ok());
    }
}

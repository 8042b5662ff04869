//! Signatures of one image, and whether they satisfy a rule.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Digest, SimpleSigningPayload, media};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TrustedKey;

/// One signature as the registry holds it: kept in the cache, verified again at every load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Signature {
    /// A simple signing payload with a signature over its exact bytes.
    SimpleSigning {
        /// The signed document.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        payload: Vec<u8>,
        /// The signature.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        signature: Vec<u8>,
    },
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The keys whose signature on `digest` is good, or why there are fewer than `minimum`.
pub(crate) fn verify(
    signatures: &[Signature],
    digest: Digest,
    keys: &[TrustedKey],
    minimum: usize,
) -> Result<Vec<Digest>, String> {
    let mut signers: Vec<Digest> = Vec::new();
    let mut faults: Vec<String> = Vec::new();
    for signature in signatures {
        match signer(signature, digest, keys) {
            Ok(key) if signers.contains(&key) => {}
            Ok(key) => signers.push(key),
            Err(fault) if faults.contains(&fault) => {}
            Err(fault) => faults.push(fault),
        }
    }
    if minimum > 0 && signers.len() >= minimum {
        return Ok(signers);
    }
    let mut why = format!(
        "{} of {minimum} needed keys signed it ({} signatures looked at)",
        signers.len(),
        signatures.len()
    );
    for fault in faults {
        why.push_str("; ");
        why.push_str(&fault);
    }
    Err(why)
}

/// The trusted key that made a signature on exactly this digest.
fn signer(signature: &Signature, digest: Digest, keys: &[TrustedKey]) -> Result<Digest, String> {
    let Signature::SimpleSigning { payload, signature } = signature;
    // The signature first: nothing of an unsigned document is parsed.
    let key = keys
        .iter()
        .find(|key| key.made(payload, signature))
        .ok_or("a signature is by none of the rule's keys, or was tampered with")?;
    let payload: SimpleSigningPayload =
        serde_json::from_slice(payload).map_err(|error| format!("a signed payload is malformed: {error}"))?;
    if payload.critical.kind != media::SIMPLE_SIGNING_TYPE {
        return Err(format!("a signed payload is of the type `{}`", payload.critical.kind));
    }
    let signed = &payload.critical.image.docker_manifest_digest;
    if *signed != digest.to_string() {
        return Err(format!("a signature by {} is for another image, {signed}", key.fingerprint()));
    }
    Ok(key.fingerprint())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfman_image_format::SigningKey;
    use std::collections::BTreeMap;

    fn pair() -> (SigningKey, TrustedKey) {
        let key = SigningKey::generate().unwrap();
        let trusted = TrustedKey::from_pem(&key.public_key().unwrap().to_pem()).unwrap();
        assert_eq!(trusted.fingerprint(), key.public_key().unwrap().fingerprint());
        (key, trusted)
    }

    fn sign(key: &SigningKey, payload: &[u8]) -> Signature {
        Signature::SimpleSigning { payload: payload.to_vec(), signature: key.sign(payload).unwrap() }
    }

    fn payload(digest: Digest) -> Vec<u8> {
        serde_json::to_vec(&SimpleSigningPayload::new("quay.io/a", digest, &BTreeMap::new())).unwrap()
    }

    #[test]
    fn signature_by_a_named_key_on_this_digest_is_accepted() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let signatures = [sign(&key, &payload(digest))];
        assert_eq!(
            verify(&signatures, digest, std::slice::from_ref(&trusted), 1),
            Ok(vec![trusted.fingerprint()])
        );
        let text = serde_json::to_string(&signatures).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Signature>>(&text).unwrap(), signatures);
    }

    #[test]
    fn signature_for_another_digest_is_refused() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let error = verify(&[sign(&key, &payload(Digest::of(b"other")))], digest, &[trusted], 1).unwrap_err();
        assert!(error.contains("another image"), "{error}");
    }

    #[test]
    fn signature_of_another_type_or_shape_is_refused() {
        let ((key, trusted), digest) = (pair(), Digest::of(b"image"));
        let other =
            String::from_utf8(payload(digest)).unwrap().replace("cosign container image signature", "x");
        for text in [other.as_bytes(), b"{}".as_slice(), b"not json"] {
            assert!(verify(&[sign(&key, text)], digest, std::slice::from_ref(&trusted), 1).is_err());
        }
    }

    #[test]
    fn signature_by_another_key_or_over_other_bytes_is_refused() {
        let ((key, trusted), (stranger, _), digest) = (pair(), pair(), Digest::of(b"image"));
        assert!(
            verify(&[sign(&stranger, &payload(digest))], digest, std::slice::from_ref(&trusted), 1).is_err()
        );
        let Signature::SimpleSigning { signature, .. } = sign(&key, &payload(Digest::of(b"other")));
        let forged = Signature::SimpleSigning { payload: payload(digest), signature };
        assert!(verify(&[forged], digest, std::slice::from_ref(&trusted), 1).is_err());
        assert!(verify(&[], digest, &[trusted], 1).is_err());
        assert!(verify(&[], digest, &[], 0).is_err(), "no rule ever means that nothing is enough");
    }

    #[test]
    fn two_signatures_of_one_key_are_one_signer() {
        let ((one, trusted_one), (two, trusted_two), digest) = (pair(), pair(), Digest::of(b"image"));
        let keys = [trusted_one, trusted_two];
        let text = payload(digest);
        assert!(verify(&[sign(&one, &text), sign(&one, &text)], digest, &keys, 2).is_err());
        assert_eq!(verify(&[sign(&one, &text), sign(&two, &text)], digest, &keys, 2).unwrap().len(), 2);
    }
}

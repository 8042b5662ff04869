//! Verification of signatures by key.

use bpfman_image_format::causes;
use bpfmand_image::{SignatureError, TrustedKey};
use sigstore_verify::crypto::{KeyAlgorithm, VerificationKey};
use sigstore_verify::types::{DerPublicKey, HashAlgorithm, SignatureBytes};

pub(super) fn spki(key: &TrustedKey) -> DerPublicKey {
    DerPublicKey::from_bytes(key.spki())
}

/// Returns the key of a list that made the signature. An error names a damaged key, as it may be that one.
pub(super) fn maker<'k>(
    keys: &'k [TrustedKey],
    message: &[u8],
    signature: &[u8],
) -> Result<&'k TrustedKey, SignatureError> {
    let mut refusal = SignatureError::NoKey;
    for key in keys {
        match verifying(key) {
            Ok(verifying) if verifying.verify(message, &SignatureBytes::from_bytes(signature)).is_ok() => {
                return Ok(key);
            }
            Ok(_) => {}
            Err(error) => {
                let part = format!("the key {} of the policy", key.fingerprint());
                refusal = SignatureError::Malformed { part: part.into(), why: causes(&error) };
            }
        }
    }
    Err(refusal)
}

fn verifying(key: &TrustedKey) -> sigstore_verify::crypto::Result<VerificationKey> {
    let spki = spki(key);
    let scheme = KeyAlgorithm::from_spki(&spki)?.resolve_signing_scheme(HashAlgorithm::Sha2256)?;
    let key = VerificationKey::from_spki_with_scheme(&spki, scheme)?;
    sigstore_verify::crypto::validate_raw_public_key(scheme, key.as_bytes())?;
    Ok(key)
}

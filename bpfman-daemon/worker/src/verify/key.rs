//! Verification of signatures by key.

use bpfmand_image::TrustedKey;
use sigstore_verify::crypto::{KeyAlgorithm, VerificationKey};
use sigstore_verify::types::{DerPublicKey, HashAlgorithm, SignatureBytes};

/// Returns the key in the form of the library.
pub(super) fn spki(key: &TrustedKey) -> DerPublicKey {
    DerPublicKey::from_bytes(key.spki())
}

/// Returns whether the key made the signature. A key that is none made nothing.
pub(super) fn made(key: &TrustedKey, message: &[u8], signature: &[u8]) -> bool {
    let spki = spki(key);
    let verifying = KeyAlgorithm::from_spki(&spki).and_then(|algorithm| {
        let scheme = algorithm.resolve_signing_scheme(HashAlgorithm::Sha2256)?;
        let key = VerificationKey::from_spki_with_scheme(&spki, scheme)?;
        sigstore_verify::crypto::validate_raw_public_key(scheme, key.as_bytes())?;
        Ok(key)
    });
    verifying.is_ok_and(|key| key.verify(message, &SignatureBytes::from_bytes(signature)).is_ok())
}

use std::fmt;
use std::sync::Arc;

use bpfman_image_format::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sigstore_verify::crypto::{KeyAlgorithm, VerificationKey};
use sigstore_verify::types::{DerPublicKey, HashAlgorithm, SignatureBytes};

/// A public key that the policy trusts.
#[derive(Clone)]
pub struct TrustedKey {
    /// `Arc`, because the library's key type is not `Clone`.
    key: Arc<VerificationKey>,
    spki: DerPublicKey,
    fingerprint: Digest,
    pem: Arc<str>,
}

/// Reason why a public key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedKeyError {
    /// The text is not a public key in PEM.
    #[error("not a PEM public key: {0}")]
    Pem(String),
    /// The algorithm is not supported.
    #[error("keys of the kind {0} are not supported; use P-256 (or RSA with at least 2048 bits)")]
    Algorithm(String),
}

impl TrustedKey {
    /// Parses a `PUBLIC KEY` PEM block: P-256, or RSA.
    pub fn from_pem(text: &str) -> Result<Self, TrustedKeyError> {
        let spki = DerPublicKey::from_pem(text.trim()).map_err(|e| TrustedKeyError::Pem(e.to_string()))?;
        let algorithm =
            KeyAlgorithm::from_spki(&spki).map_err(|e| TrustedKeyError::Algorithm(e.to_string()))?;
        // Other algorithms verify only one of the two signature formats: refuse them here instead of at use.
        if !matches!(algorithm, KeyAlgorithm::EcdsaP256 | KeyAlgorithm::Rsa) {
            return Err(TrustedKeyError::Algorithm(format!("{algorithm:?}")));
        }
        let key = algorithm
            .resolve_signing_scheme(HashAlgorithm::Sha2256)
            .and_then(|scheme| {
                let key = VerificationKey::from_spki_with_scheme(&spki, scheme)?;
                sigstore_verify::crypto::validate_raw_public_key(scheme, key.as_bytes())?;
                Ok(key)
            })
            .map_err(|e| TrustedKeyError::Pem(e.to_string()))?;
        let fingerprint = Digest::of(spki.as_bytes());
        Ok(Self { key: Arc::new(key), spki, fingerprint, pem: text.trim().into() })
    }

    /// Returns the SHA-256 of the key in DER (SubjectPublicKeyInfo).
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Returns the key in DER.
    pub(crate) const fn spki(&self) -> &DerPublicKey {
        &self.spki
    }

    pub(crate) fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(message, &SignatureBytes::from_bytes(signature)).is_ok()
    }
}

impl Serialize for TrustedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.pem)
    }
}

impl<'de> Deserialize<'de> for TrustedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_pem(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.fingerprint)
    }
}

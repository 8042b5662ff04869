use std::fmt;
use std::sync::Arc;

use bpfman_image_format::{Digest, pem};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::der::KeyShape;

/// A public key that the policy trusts. The worker alone verifies with it.
#[derive(Clone)]
pub struct TrustedKey {
    spki: Arc<[u8]>,
    fingerprint: Digest,
    pem: Arc<str>,
}

/// Reason why a public key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedKeyError {
    #[error("not a PEM public key: {0}")]
    Pem(String),
    #[error("keys of this kind are not supported; use P-256 (or RSA with at least 2048 bits)")]
    Algorithm,
    /// The numbers are not a valid key, so that no signature could be verified with it.
    #[error("the block is no valid key; write the file again with `cosign public-key`")]
    Numbers,
}

impl TrustedKey {
    /// Parses a `PUBLIC KEY` PEM block: P-256, or RSA.
    ///
    /// # Errors
    /// Fails if the text holds no such block, or a key of another kind or length.
    pub fn from_pem(text: &str) -> Result<Self, TrustedKeyError> {
        let text = text.trim();
        let no_key = |why: &str| TrustedKeyError::Pem(why.to_owned());
        let spki = match pem::read(text) {
            Some(("PUBLIC KEY", der)) => der,
            Some((label, _)) => return Err(TrustedKeyError::Pem(format!("it is a block {label:?}"))),
            None => return Err(no_key("it has no block PUBLIC KEY")),
        };
        match KeyShape::of(&spki) {
            KeyShape::P256 | KeyShape::Rsa => {}
            KeyShape::Other => return Err(TrustedKeyError::Algorithm),
            KeyShape::Invalid => return Err(TrustedKeyError::Numbers),
            KeyShape::NoKey => return Err(no_key("the block has no key")),
        }
        let fingerprint = Digest::of(&spki);
        Ok(Self { spki: spki.into(), fingerprint, pem: text.into() })
    }

    /// Returns the SHA-256 of the key in DER (SubjectPublicKeyInfo).
    #[must_use]
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Returns the key in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
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

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use crate::cosign_key::{self, CosignKeyError, SealedKey};
use bpfman_image_format::{Digest, pem};

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// Reason why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is not PEM text (a line -----BEGIN … KEY----- is expected)")]
    NotPem,
    #[error("the private key is encrypted ({0}); plain PEM keys and those of cosign are read")]
    Encrypted(String),
    #[error("the private key of cosign cannot be opened: {0}")]
    Cosign(#[from] CosignKeyError),
    /// The PEM block is not a key of the expected kind.
    #[error("the PEM block is a {found}, expected a {expected}")]
    Label {
        /// Label of the PEM block.
        found: String,
        /// Expected kind.
        expected: &'static str,
    },
    /// The key is of another algorithm or curve, or damaged.
    #[error("the {0} is not a P-256 key in DER (RSA, P-384 and Ed25519 keys cannot sign here)")]
    NotP256(&'static str),
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
}

/// Private key for signing images.
pub struct SigningKey {
    pair: EcdsaKeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl SigningKey {
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| KeyError::Crypto("make a key pair"))?;
        Ok(Self { pair })
    }

    /// Parses an unencrypted PEM key: PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`).
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pem_or_cosign(text, || None)
    }

    /// Parses an unencrypted PEM key, or a cosign key, for which `password` is called.
    pub fn from_pem_or_cosign(
        text: &str,
        password: impl FnOnce() -> Option<String>,
    ) -> Result<Self, KeyError> {
        let (label, der) = pem::read(text).ok_or(KeyError::NotPem)?;
        if cosign_key::LABELS.contains(&label) {
            let sealed = SealedKey::read(&der)?;
            let key = sealed.open(&password().ok_or(CosignKeyError::NoPassword)?)?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key);
            return Ok(Self { pair: pair.map_err(|_| KeyError::NotP256("private key"))? });
        }
        if label.starts_with("ENCRYPTED ") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(KeyError::Encrypted(label.to_owned()));
        }
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pair = match label {
            PRIVATE => EcdsaKeyPair::from_pkcs8(algorithm, &der),
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(algorithm, &der),
            _ => return Err(KeyError::Label { found: label.to_owned(), expected: PRIVATE }),
        };
        Ok(Self { pair: pair.map_err(|_| KeyError::NotP256("private key"))? })
    }

    /// Returns the private key as PKCS#8 PEM. Anyone who has it can sign in the owner's name: write it with mode 0600.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| KeyError::Crypto("encode a private key"))?;
        Ok(pem::write(PRIVATE, der.as_ref()))
    }

    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let spki = self.pair.public_key().as_der().map_err(|_| KeyError::Crypto("encode a public key"))?;
        Ok(PublicKey { spki: spki.as_ref().to_vec(), point: self.pair.public_key().as_ref().to_vec() })
    }

    /// Signs `message` and returns the signature in ASN.1 DER.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature =
            self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Crypto("sign"))?;
        Ok(signature.as_ref().to_vec())
    }
}

/// P-256 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    point: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// Fixed bytes before an uncompressed point in a P-256 SubjectPublicKeyInfo (RFC 5480).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl PublicKey {
    /// Parses a `PUBLIC KEY` PEM block.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, spki) = pem::read(text).ok_or(KeyError::NotPem)?;
        if label != PUBLIC {
            return Err(KeyError::Label { found: label.to_owned(), expected: PUBLIC });
        }
        let point = spki
            .strip_prefix(&SPKI_P256)
            .filter(|point| point.len() == 65 && point[0] == 4)
            .ok_or(KeyError::NotP256("public key"))?
            .to_vec();
        Ok(Self { spki, point })
    }

    /// Returns the key as PEM, in the form that the daemon's policy and cosign read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write(PUBLIC, &self.spki)
    }

    /// Returns the SHA-256 of the key in DER, which names the key in records and messages.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// Returns whether `signature` is by this key over `message`. The daemon verifies images with code of its own.
    #[must_use]
    pub fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_verify_each_other() {
        let key = SigningKey::generate().unwrap();
        let read = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        let public = PublicKey::from_pem(&read.public_key().unwrap().to_pem()).unwrap();
        assert_eq!(public, key.public_key().unwrap());
        let signature = read.sign(b"message").unwrap();
        assert!(public.made(b"message", &signature));
        assert!(!public.made(b"massage", &signature));
        assert!(!SigningKey::generate().unwrap().public_key().unwrap().made(b"message", &signature));
    }

    #[test]
    fn encrypted_keys_get_their_own_error() {
        let text = pem::write("ENCRYPTED PRIVATE KEY", b"{}");
        let error = SigningKey::from_pem(&text).unwrap_err();
        assert_eq!(error, KeyError::Encrypted("ENCRYPTED PRIVATE KEY".to_owned()));
        assert_eq!(SigningKey::from_pem("").unwrap_err(), KeyError::NotPem);
        let public = SigningKey::generate().unwrap().public_key().unwrap().to_pem();
        assert!(matches!(SigningKey::from_pem(&public), Err(KeyError::Label { .. })));
        assert!(matches!(SigningKey::from_pem(&pem::write(PRIVATE, b"x")), Err(KeyError::NotP256(_))));
        assert!(matches!(PublicKey::from_pem(&pem::write(PUBLIC, b"x")), Err(KeyError::NotP256(_))));
    }
}

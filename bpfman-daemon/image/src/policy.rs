//! Which signatures an image needs before its bytecode may run.

use std::fmt;

use bpfman_image_format::{Digest, ImageReference};
use serde::{Deserialize, Serialize};
use sigstore_verify::crypto::{KeyAlgorithm, VerificationKey};
use sigstore_verify::types::{DerPublicKey, HashAlgorithm, SignatureBytes};

use crate::{ImageError, Pattern, PolicyFile};

/// How the rules are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What no rule allows is refused. The default, and the meaning of an absent file.
    #[default]
    Enforce,
    /// What no rule allows is loaded, with a warning in the log and in the program's record.
    Warn,
    /// Signatures are neither fetched nor looked at.
    Off,
}

/// The two keys of v0.6.0's `[signing]` table, where they were written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LegacySigning {
    /// `verify_enabled`.
    pub verify_enabled: Option<bool>,
    /// `allow_unsigned`.
    pub allow_unsigned: Option<bool>,
}

impl LegacySigning {
    /// The mode that these keys ask for; none if they were not written or ask for the strictest.
    ///
    /// v0.6.0 took absent keys as "verify, but allow unsigned". Here only what root wrote out loosens anything.
    #[must_use]
    pub fn mode(self) -> Option<Mode> {
        match (self.verify_enabled, self.allow_unsigned) {
            (Some(false), _) => Some(Mode::Off),
            (_, Some(true)) => Some(Mode::Warn),
            (_, Some(false)) => Some(Mode::Enforce),
            (_, None) => None,
        }
    }
}

/// The signature policy in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    mode: Mode,
    rules: Vec<Rule>,
}

/// One `[[images]]` entry.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The repositories it is about.
    pub pattern: Pattern,
    /// What their images need.
    pub requirement: Requirement,
}

/// What a rule demands.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Signatures of so many different keys out of these.
    Keys {
        /// The keys.
        keys: Vec<TrustedKey>,
        /// How many of them have to have signed, at least 1.
        minimum: usize,
    },
    /// Nothing: `unsigned = true` was written out.
    Unsigned,
}

/// What the policy says about one image.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// This rule decides.
    Rule(&'a Rule),
    /// No rule covers it, and the mode is `warn`.
    Uncovered,
    /// The mode is `off`.
    Off,
}

impl Policy {
    /// The policy of this machine: the policy file, where there is one, over v0.6.0's keys, over `enforce`.
    #[must_use]
    pub fn resolve(file: Option<PolicyFile>, legacy: LegacySigning) -> Self {
        let (mode, rules) = file.map(|file| (file.mode, file.rules)).unwrap_or_default();
        Self { mode: mode.or(legacy.mode()).unwrap_or_default(), rules }
    }

    /// How the rules are applied.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule, in the order of the file, that covers `image` decides.
    ///
    /// Asked before any traffic: an image that no rule covers is refused without a connection.
    pub fn decide(&self, image: &ImageReference) -> Result<Decision<'_>, ImageError> {
        if self.mode == Mode::Off {
            return Ok(Decision::Off);
        }
        match self.rules.iter().find(|rule| rule.pattern.covers(image)) {
            Some(rule) => Ok(Decision::Rule(rule)),
            None if self.mode == Mode::Warn => Ok(Decision::Uncovered),
            None => Err(ImageError::NoRule { image: image.to_string(), pattern: image.name() }),
        }
    }
}

/// A public key that the policy trusts.
#[derive(Clone)]
pub struct TrustedKey {
    /// Boxed in an `Arc` because the library's key cannot be cloned.
    key: std::sync::Arc<VerificationKey>,
    fingerprint: Digest,
}

/// A public key that cannot be trusted with anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustedKeyError {
    /// Not a public key in PEM.
    #[error("not a PEM public key: {0}")]
    Pem(String),
    /// Of another algorithm.
    #[error("keys of the kind {0} are not supported; use P-256 (or RSA with at least 2048 bits)")]
    Algorithm(String),
}

impl TrustedKey {
    /// Reads a `PUBLIC KEY` PEM block: P-256, or RSA.
    pub fn from_pem(text: &str) -> Result<Self, TrustedKeyError> {
        let spki = DerPublicKey::from_pem(text.trim()).map_err(|e| TrustedKeyError::Pem(e.to_string()))?;
        let algorithm =
            KeyAlgorithm::from_spki(&spki).map_err(|e| TrustedKeyError::Algorithm(e.to_string()))?;
        // Other kinds verify in one signature format and not in the other; nobody should find that out in use.
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
        Ok(Self { key: std::sync::Arc::new(key), fingerprint: Digest::of(spki.as_bytes()) })
    }

    /// SHA-256 of the key in DER (SubjectPublicKeyInfo).
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// True if `signature` is this key's over `message`.
    pub(crate) fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(message, &SignatureBytes::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedKey({})", self.fingerprint)
    }
}

/// Why an image was found good enough, for the program's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum VerifiedBy {
    /// Signed by keys that a rule names.
    Keys {
        /// Pattern of the rule.
        rule: String,
        /// Digest that was signed: of the index, or of this platform's image.
        subject: Digest,
        /// Fingerprints of the keys that had signed.
        keys: Vec<Digest>,
    },
    /// A rule says `unsigned = true`.
    UnsignedAllowed {
        /// Pattern of the rule.
        rule: String,
    },
    /// Nobody: the policy only warns.
    Warned {
        /// What an enforcing policy would have said.
        reason: String,
    },
    /// Nobody: the policy is off.
    Off,
}

impl fmt::Display for VerifiedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { rule, keys, .. } => {
                let keys: Vec<String> = keys.iter().map(Digest::to_string).collect();
                write!(f, "key {} (rule {rule})", keys.join(", "))
            }
            Self::UnsignedAllowed { rule } => write!(f, "nobody: unsigned images allowed by rule {rule}"),
            Self::Warned { reason } => write!(f, "nobody: policy warns only ({reason})"),
            Self::Off => f.write_str("nobody: policy off"),
        }
    }
}

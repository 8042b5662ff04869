use std::fmt;

use std::collections::{BTreeMap, BTreeSet};

use bpfman_image_format::Digest;
use serde::{Deserialize, Serialize};

/// Signer of a counted signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// Owner of a key, by the fingerprint of the public key.
    Key(Digest),
    /// Identity that an issuer confirmed at the time of the signature.
    Identity {
        issuer: String,
        /// E-mail address or URI.
        subject: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => write!(f, "key {fingerprint}"),
            Self::Identity { issuer, subject } => write!(f, "identity {subject} of {issuer}"),
        }
    }
}

/// Reason why an image was allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum VerifiedBy {
    /// Signed by signers that a rule accepts.
    Signers {
        /// Pattern of the rule.
        rule: String,
        /// Signed digest: of the index, or of this platform's image.
        subject: Digest,
        signers: Vec<Signer>,
        /// Time of the last signature, if a log or a timestamp authority proves it, in seconds since 1970.
        signed_at: Option<i64>,
    },
    /// A rule has `unsigned = true`.
    UnsignedAllowed {
        /// Pattern of the rule.
        rule: String,
    },
    /// Not verified: the policy only warns.
    Warned {
        /// Reason for which the mode `enforce` would refuse the image.
        reason: String,
    },
    /// Not verified: the policy is off.
    Off,
}

impl VerifiedBy {
    /// Returns the pattern of the rule that allowed the image.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Signers { rule, .. } | Self::UnsignedAllowed { rule } => Some(rule),
            Self::Warned { .. } | Self::Off => None,
        }
    }

    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        match self {
            Self::Signers { signers, .. } => signers,
            _ => &[],
        }
    }
}

/// Evidence about the image of a program, evaluated again when the policy changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Digests of index, manifest, layer and object file.
    pub digests: Vec<Digest>,
    /// Reason why the image was allowed.
    pub verified_by: VerifiedBy,
    /// Time of verification, in seconds since 1970.
    pub verified_at: u64,
    /// Content of the signatures, if signatures were counted. Evidence of earlier versions lacks it.
    #[serde(default)]
    pub signed: Option<Signed>,
}

/// Content of the counted signatures, besides the digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Annotations that all counted signatures carry; for the increasing one, the highest value.
    pub annotations: BTreeMap<String, String>,
    /// Repositories that the signatures name.
    pub repositories: BTreeSet<String>,
}

impl fmt::Display for VerifiedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signers { rule, signers, .. } => {
                let signers: Vec<String> = signers.iter().map(Signer::to_string).collect();
                write!(f, "{} (rule {rule})", signers.join(", "))
            }
            Self::UnsignedAllowed { rule } => write!(f, "none: unsigned images allowed by rule {rule}"),
            Self::Warned { reason } => write!(f, "none: policy warns only ({reason})"),
            Self::Off => f.write_str("none: policy off"),
        }
    }
}

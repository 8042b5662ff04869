//! What a program's record says about who let it in.

use std::fmt;

use std::collections::{BTreeMap, BTreeSet};

use bpfman_image_format::Digest;
use serde::{Deserialize, Serialize};

/// Somebody whose signature counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// The owner of a key, by the fingerprint of its public half.
    Key(Digest),
    /// Somebody whom an issuer of identities had recognized when the signature was made.
    Identity {
        /// The issuer, as its URL.
        issuer: String,
        /// The identity: an e-mail address or a URI.
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

/// Why an image was found good enough, for the program's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum VerifiedBy {
    /// Signed by those whom a rule names.
    Signers {
        /// Pattern of the rule.
        rule: String,
        /// Digest that was signed: of the index, or of this platform's image.
        subject: Digest,
        /// Who had signed.
        signers: Vec<Signer>,
        /// When the last of them had, where a log or a timestamp authority vouches for it: seconds since 1970.
        signed_at: Option<i64>,
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

impl VerifiedBy {
    /// The rule that let it in, by its pattern.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Signers { rule, .. } | Self::UnsignedAllowed { rule } => Some(rule),
            Self::Warned { .. } | Self::Off => None,
        }
    }

    /// Those whose signatures counted.
    #[must_use]
    pub fn signers(&self) -> &[Signer] {
        match self {
            Self::Signers { signers, .. } => signers,
            _ => &[],
        }
    }
}

/// What a program's record keeps of its image, to be judged again when the policy has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Digests of index, manifest, layer and object file.
    pub digests: Vec<Digest>,
    /// Who let it in.
    pub verified_by: VerifiedBy,
    /// When it was verified: seconds since 1970.
    pub verified_at: u64,
    /// What the signers wrote, where signatures counted. Evidence of earlier versions does not have it.
    #[serde(default)]
    pub signed: Option<Signed>,
}

/// What the signatures that counted say of an image besides its digest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Annotations that all of them carry; of the one that has to grow, the highest value.
    pub annotations: BTreeMap<String, String>,
    /// Repositories that they name; none of those that name none.
    pub repositories: BTreeSet<String>,
}

impl fmt::Display for VerifiedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signers { rule, signers, .. } => {
                let signers: Vec<String> = signers.iter().map(Signer::to_string).collect();
                write!(f, "{} (rule {rule})", signers.join(", "))
            }
            Self::UnsignedAllowed { rule } => write!(f, "nobody: unsigned images allowed by rule {rule}"),
            Self::Warned { reason } => write!(f, "nobody: policy warns only ({reason})"),
            Self::Off => f.write_str("nobody: policy off"),
        }
    }
}

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Signer, VerifiedBy};

/// Reason why one signature does not count for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SignatureError {
    /// Made by a key that the rule does not name, or over other bytes.
    #[error("a signature is by none of the rule's keys, or was tampered with")]
    NoKey,
    /// Made by an identity, but the rule accepts keys only.
    #[error("a signature is by an identity, and the rule names keys only")]
    KeysOnly,
    /// Made by an identity that the rule does not name.
    #[error("a signature is by {subject} of {issuer}, whom the rule does not name")]
    Stranger { subject: String, issuer: String },
    #[error("a signature's certificate names no issuer or no subject")]
    NoIdentity,
    #[error("a signature is by the revoked {0}")]
    Revoked(Signer),
    #[error("no trusted root is given")]
    NoRoot,
    #[error("a {form} does not stand up to the trusted root: {why}")]
    Unproven {
        /// "signature" or "signature bundle".
        form: Cow<'static, str>,
        why: String,
    },
    #[error("a signature has no entry of a transparency log")]
    NoLogEntry,
    /// A part cannot be parsed.
    #[error("{part}: {why}")]
    Malformed { part: Cow<'static, str>, why: String },
    /// The bundle signs bytes instead of a statement about an image.
    #[error("a signature bundle signs bytes, not a statement about an image")]
    NoStatement,
    #[error("a signed payload is of the type `{0}`")]
    PayloadType(String),
    /// A signed statement about an image that is no signature, such as an attestation.
    #[error("{signer} signed a statement of another kind, `{kind}`")]
    AnotherKind { signer: Signer, kind: String },
    #[error("a signature by {signer} is for another image{}", digest.as_ref().map_or_else(String::new, |digest| format!(", {digest}")))]
    AnotherImage {
        signer: Signer,
        /// Digest of that image; `None` in formats that can name several images.
        digest: Option<String>,
    },
    #[error("a signature by {signer} lacks the annotation {wanted}")]
    NoAnnotation {
        signer: Signer,
        /// Annotation, with its value if the rule names one.
        wanted: String,
    },
    #[error("a signature by {signer} has {name}={found} instead of {wanted}")]
    WrongAnnotation { signer: Signer, name: String, found: String, wanted: String },
    /// The rule has `signed_as`, and the signature names no repository.
    #[error("a signature by {0} names no repository, and signed_as asks for one")]
    NoRepository(Signer),
    #[error("a signature by {0} is for the repository {1:?}, which signed_as would have to name")]
    AnotherRepository(Signer, String),
}

/// Error: fewer signers than the rule requires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooFewSigners {
    /// Number of different signers that count.
    pub found: usize,
    /// Number that the rule requires.
    pub minimum: usize,
    pub seen: usize,
    /// Reasons why the other signatures do not count, each once.
    pub faults: Vec<SignatureError>,
    /// Set if there are more signatures than the limits allow to read.
    pub cut: bool,
    /// Error of the registry at a place where signatures may be.
    #[serde(default)]
    pub unanswered: Option<String>,
}

impl fmt::Display for TooFewSigners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Maximum number of signatures in a message, since third parties may attach any number.
        const SHOWN: usize = 8;
        let Self { found, minimum, seen, faults, cut, unanswered } = self;
        write!(f, "{found} of {minimum} needed signers signed it ({seen} signatures looked at)")?;
        for fault in faults.iter().take(SHOWN) {
            write!(f, "; {fault}")?;
        }
        if faults.len() > SHOWN {
            write!(f, "; and {} more", faults.len() - SHOWN)?;
        }
        f.write_str(if *cut { "; there are more than are looked at" } else { "" })?;
        unanswered.as_ref().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}

impl std::error::Error for TooFewSigners {}

/// Reason why the evidence in a program's record does not suffice, when the signatures themselves are gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("nothing is recorded of them")]
    Nothing,
    #[error("it was let in by {0}")]
    LetInBy(VerifiedBy),
    #[error("{found} of {minimum} needed signers signed it")]
    TooFew {
        /// Number of signers that count now.
        found: usize,
        minimum: usize,
    },
    #[error("no entry of a transparency log is recorded")]
    NoLogEntry,
    /// The record was written by a version that did not record annotations and repositories.
    #[error("what they say is not recorded")]
    NotRecorded,
    #[error("they lack the annotation {name}={wanted}")]
    NoAnnotation { name: String, wanted: String },
    /// No signature is for a repository that the rule accepts.
    #[error("they are for another repository")]
    AnotherRepository,
}

/// Reason why the signatures of an image do not satisfy a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntrustedReason {
    /// The signatures were verified.
    #[error(transparent)]
    Signatures(#[from] TooFewSigners),
    /// The signatures are gone, and the program's record was used instead.
    #[error("{0} (its signatures are no longer in the cache; loading it again looks at them)")]
    Record(#[from] EvidenceError),
}

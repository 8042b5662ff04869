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
    Stranger {
        /// The identity.
        subject: String,
        /// Issuer of the identity.
        issuer: String,
    },
    /// The certificate names no subject or no issuer.
    #[error("a signature's certificate names no issuer or no subject")]
    NoIdentity,
    /// Made by a revoked signer.
    #[error("a signature is by the revoked {0}")]
    Revoked(Signer),
    /// No trusted root to verify identities and log entries.
    #[error("no trusted root is given")]
    NoRoot,
    /// Certificate, log entry or time cannot be verified.
    #[error("a {form} does not stand up to the trusted root: {why}")]
    Unproven {
        /// "signature" or "signature bundle".
        form: Cow<'static, str>,
        /// Chain of causes.
        why: String,
    },
    /// Not published in a transparency log.
    #[error("a signature has no entry of a transparency log")]
    NoLogEntry,
    /// A part cannot be parsed.
    #[error("{part}: {why}")]
    Malformed {
        /// Name of the part.
        part: Cow<'static, str>,
        /// Error of the parser.
        why: String,
    },
    /// The bundle signs bytes instead of a statement about an image.
    #[error("a signature bundle signs bytes, not a statement about an image")]
    NoStatement,
    /// The signed payload has another type.
    #[error("a signed payload is of the type `{0}`")]
    PayloadType(String),
    /// A signed statement about an image that is no signature, such as an attestation.
    #[error("{signer} signed a statement of another kind, `{kind}`")]
    AnotherKind {
        /// Signer of the statement.
        signer: Signer,
        /// Predicate type.
        kind: String,
    },
    /// A signature of another image.
    #[error("a signature by {signer} is for another image{}", digest.as_ref().map_or_else(String::new, |digest| format!(", {digest}")))]
    AnotherImage {
        /// Signer of the image.
        signer: Signer,
        /// Digest of that image, in formats that name only one.
        digest: Option<String>,
    },
    /// A required annotation is missing.
    #[error("a signature by {signer} lacks the annotation {wanted}")]
    NoAnnotation {
        /// Signer of the image.
        signer: Signer,
        /// Annotation, with its value if the rule names one.
        wanted: String,
    },
    /// An annotation has another value than required.
    #[error("a signature by {signer} has {name}={found} instead of {wanted}")]
    WrongAnnotation {
        /// Signer of the image.
        signer: Signer,
        /// The annotation.
        name: String,
        /// Value in the signature.
        found: String,
        /// Value in the rule.
        wanted: String,
    },
    /// The rule has `signed_as`, and the signature names no repository.
    #[error("a signature by {0} names no repository, and signed_as asks for one")]
    NoRepository(Signer),
    /// Made for another repository.
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
    /// Number of signatures read.
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
        /// Third parties that may attach signatures must not flood the message.
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
    /// The record is of an earlier version.
    #[error("nothing is recorded of them")]
    Nothing,
    /// The image was loaded without signatures.
    #[error("it was let in by {0}")]
    LetInBy(VerifiedBy),
    /// Too few of the recorded signers still count.
    #[error("{found} of {minimum} needed signers signed it")]
    TooFew {
        /// Number of signers that count now.
        found: usize,
        /// Number that the rule requires.
        minimum: usize,
    },
    /// The rule requires log entries.
    #[error("no entry of a transparency log is recorded")]
    NoLogEntry,
    /// The record is older than the recording of annotations and repositories.
    #[error("what they say is not recorded")]
    NotRecorded,
    /// Not all signatures carried a required annotation.
    #[error("they lack the annotation {name}={wanted}")]
    NoAnnotation {
        /// Name of the annotation.
        name: String,
        /// Value in the rule.
        wanted: String,
    },
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

//! Why signatures do not count, and why those that do are not enough.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Signer, VerifiedBy};

/// Why one signature does not count for an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SignatureError {
    /// Made by nobody's key that the rule names, or over other bytes.
    #[error("a signature is by none of the rule's keys, or was tampered with")]
    NoKey,
    /// Made by an identity where only keys count.
    #[error("a signature is by an identity, and the rule names keys only")]
    KeysOnly,
    /// Made by an identity that the rule does not name.
    #[error("a signature is by {subject} of {issuer}, whom the rule does not name")]
    Stranger {
        /// The identity.
        subject: String,
        /// Who vouches for it.
        issuer: String,
    },
    /// A certificate that does not say whose it is.
    #[error("a signature's certificate names no issuer or no subject")]
    NoIdentity,
    /// Made by somebody whom the policy has revoked.
    #[error("a signature is by the revoked {0}")]
    Revoked(Signer),
    /// There is nothing to check identities and log entries with.
    #[error("no trusted root is given")]
    NoRoot,
    /// Certificate, log or time cannot be verified: what stands there, and the verifier's chain of causes.
    #[error("a {form} does not stand up to the trusted root: {why}")]
    Unproven {
        /// "signature" or "signature bundle".
        form: Cow<'static, str>,
        /// The verifier's chain of causes.
        why: String,
    },
    /// Only made known to the one who sent it.
    #[error("a signature has no entry of a transparency log")]
    NoLogEntry,
    /// A part that cannot be read.
    #[error("{part}: {why}")]
    Malformed {
        /// The part, in words that end before the colon.
        part: Cow<'static, str>,
        /// The reader's complaint.
        why: String,
    },
    /// A bundle over bytes, which say nothing of any image.
    #[error("a signature bundle signs bytes, not a statement about an image")]
    NoStatement,
    /// Something else than an image was signed: its type.
    #[error("a signed payload is of the type `{0}`")]
    PayloadType(String),
    /// A statement about an image, such as an attestation, that is no signature.
    #[error("{signer} signed a statement of another kind, `{kind}`")]
    AnotherKind {
        /// Who signed it.
        signer: Signer,
        /// Its predicate type.
        kind: String,
    },
    /// A signature of another image.
    #[error("a signature by {signer} is for another image{}", digest.as_ref().map_or_else(String::new, |digest| format!(", {digest}")))]
    AnotherImage {
        /// Who made it.
        signer: Signer,
        /// The digest of that image, in forms that name only one.
        digest: Option<String>,
    },
    /// An annotation that the rule wants is not there.
    #[error("a signature by {signer} lacks the annotation {wanted}")]
    NoAnnotation {
        /// Who made it.
        signer: Signer,
        /// The annotation, with its value where the rule names one.
        wanted: String,
    },
    /// An annotation has another value than the rule wants.
    #[error("a signature by {signer} says {name}={found} instead of {wanted}")]
    WrongAnnotation {
        /// Who made it.
        signer: Signer,
        /// The annotation.
        name: String,
        /// Its value.
        found: String,
        /// The value of the rule.
        wanted: String,
    },
    /// The rule has `signed_as`, and the signature does not say what repository it is for.
    #[error("a signature by {0} names no repository, and signed_as asks for one")]
    NoRepository(Signer),
    /// Made for another repository, the named one.
    #[error("a signature by {0} is for the repository {1:?}, which signed_as would have to name")]
    AnotherRepository(Signer, String),
}

/// Makes what a reader complains of into an error about one part.
pub(crate) fn malformed<E: fmt::Display>(part: &'static str) -> impl FnOnce(E) -> SignatureError {
    move |error| SignatureError::Malformed { part: part.into(), why: error.to_string() }
}

/// Fewer signers than a rule wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooFewSigners {
    /// Different signers whose signatures count.
    pub found: usize,
    /// How many the rule wants.
    pub minimum: usize,
    /// Signatures that were looked at.
    pub seen: usize,
    /// Why the others do not count, each reason once.
    pub faults: Vec<SignatureError>,
    /// True if there are more signatures than are looked at.
    pub cut: bool,
    /// Refusal by the registry where more signatures may be.
    #[serde(default)]
    pub unanswered: Option<String>,
}

impl fmt::Display for TooFewSigners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Whoever may attach signatures must not fill the message.
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

/// Why what a program's record says of signatures is not enough, where the signatures themselves are gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A record of an earlier version.
    #[error("nothing is recorded of them")]
    Nothing,
    /// Let in without signatures.
    #[error("it was let in by {0}")]
    LetInBy(VerifiedBy),
    /// Too few of those who had signed still count.
    #[error("{found} of {minimum} needed signers signed it")]
    TooFew {
        /// Signers that count now.
        found: usize,
        /// How many the rule wants.
        minimum: usize,
    },
    /// The rule wants log entries.
    #[error("no entry of a transparency log is recorded")]
    NoLogEntry,
    /// A record from before annotations and repositories were kept.
    #[error("what they say is not recorded")]
    NotRecorded,
    /// Not all carried what the rule wants.
    #[error("they lack the annotation {name}={wanted}")]
    NoAnnotation {
        /// The annotation.
        name: String,
        /// The value of the rule.
        wanted: String,
    },
    /// None is for a repository that the rule takes.
    #[error("they are for another repository")]
    AnotherRepository,
}

/// Why the signatures of an image do not satisfy a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntrustedReason {
    /// The signatures were looked at.
    #[error(transparent)]
    Signatures(#[from] TooFewSigners),
    /// They are gone, and a program's record stood in for them.
    #[error("{0} (its signatures are no longer in the cache; loading it again looks at them)")]
    Record(#[from] EvidenceError),
}

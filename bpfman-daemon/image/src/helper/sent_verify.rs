//! What a verifier is asked, and what it answers.

use bpfman_image_format::manifest::ImageDocument;
use bpfman_image_format::{Descriptor, Digest, Labels};
use serde::{Deserialize, Serialize};

use super::sent_error::SentError;
use crate::find_signatures::SignaturePlace;
use crate::found_signatures::FoundSignatures;
use crate::signature::Signature;
use crate::{Limits, Revoked, Signers};

/// A question to a verifier.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum VerifyQuestion {
    /// What a manifest or index says; it follows as content: [`DocumentAnswer`].
    Manifest,
    /// The same of a configuration: [`ConfigAnswer`].
    Config,
    /// The signatures of a digest in one place, which lie where [`SourceQuestion`]s lead: [`SentSignatures`], after so many of
    /// those. Of layers at most so many are tried.
    FindSignatures { name: String, digest: Digest, limits: Limits, place: SignaturePlace, layers: usize },
    /// Whose signatures count for a digest under a rule.
    Count { signatures: Vec<Signature>, image: String, digest: Digest, rule: Box<Signers>, revoked: Revoked },
    /// The object file in a layer, which follows as content. The answer is its name in there, and then it follows.
    Unpack { layer: Descriptor, image: String, big_endian: bool },
}

/// What reading a manifest or index came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum DocumentAnswer {
    Read(ImageDocument),
    /// It is none.
    Malformed(String),
    /// It is of a kind that is not supported.
    Unsupported(String),
}

/// What a configuration says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadConfig {
    pub(crate) architecture: String,
    pub(crate) labels: Labels,
}

/// What reading a configuration came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ConfigAnswer {
    Read(ReadConfig),
    /// It is none.
    Malformed(String),
    /// A label of it does not hold what its name promises.
    Label(String),
}

/// What a verifier asks back, to find signatures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SourceQuestion {
    /// A manifest: the answer says whether there is one, which follows.
    Manifest { target: String, limit: u64 },
    /// The pages of the list of what refers to the digest: the answer says how many follow; none if there is no list.
    Referrers,
    /// A blob, which follows the answer.
    Blob { descriptor: Descriptor, limit: u64 },
    /// Nothing more: this is what was found.
    Found(Result<SentSignatures, SentError>),
}

/// Signatures that were found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentSignatures {
    signatures: Vec<Signature>,
    fault: Option<SentError>,
    unanswered: Option<SentError>,
    cut: bool,
    tried: usize,
}

impl From<FoundSignatures> for SentSignatures {
    fn from(found: FoundSignatures) -> Self {
        let FoundSignatures { signatures, fault, unanswered, cut, tried } = found;
        let (fault, unanswered) = (fault.map(Into::into), unanswered.map(Into::into));
        Self { signatures, fault, unanswered, cut, tried }
    }
}

impl From<SentSignatures> for FoundSignatures {
    fn from(sent: SentSignatures) -> Self {
        let SentSignatures { signatures, fault, unanswered, cut, tried } = sent;
        let (fault, unanswered) = (fault.map(Into::into), unanswered.map(Into::into));
        Self { signatures, fault, unanswered, cut, tried }
    }
}

//! Messages between the daemon and a verifier.
#![expect(
    missing_docs,
    reason = "messages between two programs of one version, whose fields name their contents"
)]

use bpfman_image_format::manifest::ImageDocument;
use bpfman_image_format::{Descriptor, Digest, Labels};
use serde::{Deserialize, Serialize};

use super::sent_error::SentError;
use crate::found_signatures::FoundSignatures;
use crate::signature::Signature;
use crate::signature_place::SignaturePlace;
use crate::{Limits, Revoked, Signers};

#[derive(Debug, Serialize, Deserialize)]
pub enum VerifyQuestion {
    /// Parses a manifest or index, which follows as content: [`DocumentAnswer`].
    Manifest,
    // A configuration follows as content; answered by `ConfigAnswer`.
    Config,
    // Answered by `SentSignatures`, after any number of `SourceQuestion`s. At most `layers` layers are tried.
    FindSignatures {
        name: String,
        digest: Digest,
        limits: Limits,
        place: SignaturePlace,
        layers: usize,
    },
    Count {
        signatures: Vec<Signature>,
        image: String,
        digest: Digest,
        rule: Box<Signers>,
        revoked: Revoked,
    },
    // The layer follows as content; the answer is the file's name, and the file follows.
    Unpack {
        layer: Descriptor,
        image: String,
        big_endian: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub enum DocumentAnswer {
    Read(ImageDocument),
    Malformed(String),
    Unsupported(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ReadConfig {
    pub architecture: String,
    pub labels: Labels,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum ConfigAnswer {
    Read(ReadConfig),
    Malformed(String),
    Label(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum SourceQuestion {
    /// Requests a manifest: the answer is whether it exists; if so, it follows.
    Manifest {
        target: String,
        limit: u64,
    },
    // The answer is the number of pages that follow; `None` if there is no list.
    Referrers,
    Blob {
        descriptor: Descriptor,
        limit: u64,
    },
    Found(Result<SentSignatures, SentError>),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SentSignatures {
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

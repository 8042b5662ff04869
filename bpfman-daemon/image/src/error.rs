use std::path::PathBuf;

use bpfman_image_format::{Digest, ReferenceError, RegistryAnswer, TlsFailure, causes};

use crate::{AuthorizationError, UntrustedReason, WorkerRole};

pub type ErrorCause = Box<dyn std::error::Error + Send + Sync>;

/// Reason why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name of the image is invalid.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The mode is `enforce`, and no rule covers the repository.
    #[error("no rule of the signature policy covers {image}, so it may not be loaded")]
    NoRule {
        image: String,
        /// Pattern that would cover the image.
        pattern: String,
    },
    /// The rule requires a signature, and the image has none.
    #[error("{image} ({digest}) is not signed, and the rule `{rule}` demands a signature{}", note(unanswered.as_deref()))]
    Unsigned {
        image: String,
        /// Digest that the image resolved to.
        digest: Digest,
        rule: String,
        /// Error of the registry at a place where signatures may be.
        unanswered: Option<Box<ImageError>>,
    },
    /// The rule requires a signature; those found do not suffice, and the registry did not answer at every place.
    #[error(
        "{image} ({digest}) is not signed as far as its registry answers, and the rule `{rule}` demands a signature{}; {source}",
        found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default()
    )]
    SignaturesUnanswered {
        image: String,
        /// Digest that the image resolved to.
        digest: Digest,
        rule: String,
        /// Reason why the signatures found do not suffice; `None` if none were found.
        found: Option<Box<UntrustedReason>>,
        source: Box<ImageError>,
    },
    /// The image has signatures, but not enough by signers that the rule names.
    #[error("the signatures of {image} ({digest}) do not satisfy the rule `{rule}`: {why}")]
    Untrusted {
        image: String,
        /// Digest that the image resolved to.
        digest: Digest,
        rule: String,
        /// Missing signers, with the reason for each rejected signature.
        why: Box<UntrustedReason>,
    },
    #[error("{image}: {digest} is revoked by the signature policy")]
    Revoked {
        image: String,
        /// Revoked digest: of an image, manifest, layer or object file.
        digest: Digest,
    },
    /// The rule names the allowed images by digest, and this image is not among them.
    #[error("{image} ({digest}) is none of the images that the rule `{rule}` names by digest")]
    NotPinned {
        image: String,
        /// Digest that the image resolved to.
        digest: Digest,
        rule: String,
    },
    #[error("{image} is a way back that the rule `{rule}` forbids by its annotation {annotation}: {why}")]
    WayBack { image: String, rule: String, annotation: String, why: String },
    /// A layout has no named image, or several that may be meant.
    #[error("{path}: {why}; it has {present}")]
    NoImportName {
        /// Folder or archive.
        path: String,
        why: String,
        /// Its images, by name or digest.
        present: String,
    },
    #[error("{what} does not exist in the registry")]
    NotFound { what: String },
    #[error("{image} has no image for {wanted}; it has {present}")]
    NoPlatform { image: String, wanted: String, present: String },
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Unauthorized {
        registry: String,
        what: String,
        /// Answer of the registry, or fault of its challenge.
        why: Box<AuthorizationError>,
    },
    #[error("{what} cannot be fetched from the registry {registry}: {}", causes(&**source))]
    Unreachable { registry: String, what: String, tls: Option<TlsFailure>, source: ErrorCause },
    #[error("{what} cannot be fetched from the registry {registry}: it answers {answer}")]
    RegistryRefused {
        registry: String,
        what: String,
        /// Status and text of the answer.
        answer: RegistryAnswer,
    },
    #[error("loading {image} took longer than {seconds} s")]
    Timeout {
        image: String,
        /// Limit, in seconds.
        seconds: u64,
    },
    #[error("{what} is malformed: {}", causes(&**source))]
    Malformed { what: String, source: ErrorCause },
    /// The specification allows the content, but it is not supported.
    #[error("{what} is not supported: {}", causes(&**source))]
    Unsupported { what: String, source: ErrorCause },
    #[error("{what} holds no object file: {}", causes(&**source))]
    NoObject { what: String, source: ErrorCause },
    /// The digest of the content differs from the requested one.
    #[error("{what} has the digest {found} instead of {expected}; somebody changed it")]
    WrongDigest { what: String, expected: Digest, found: Digest },
    #[error("{what} has {size} bytes; at most {limit} are allowed", size = size.map_or("too many".to_owned(), |s| s.to_string()))]
    TooLarge {
        what: String,
        /// Size in bytes, if known.
        size: Option<u64>,
        /// Limit, in bytes.
        limit: u64,
    },
    /// This machine cannot load the object file in the image.
    #[error("the object file in {image} cannot be used: {}", causes(&**source))]
    Bytecode { image: String, source: ErrorCause },
    /// The labels are invalid.
    #[error("{image}: {}", causes(&**source))]
    Label { image: String, source: ErrorCause },
    /// The pull policy forbids network access, and the cache lacks the content.
    #[error("{what} is not in the cache, and the pull policy Never forbids to fetch it")]
    NotCached { what: String, image: String },
    /// The cache cannot be read or written.
    #[error("image cache: {path}: {source}")]
    Storage {
        /// File or folder.
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no client can be made for {of}: {}", causes(&**source))]
    Client {
        /// Registry, or the setting that the client needs.
        of: String,
        source: ErrorCause,
    },
    /// A worker process cannot be started, or ended during its work.
    #[error("the {role} for images did not do its work: {source}")]
    Worker { role: WorkerRole, source: std::io::Error },
    #[error("the load was cancelled: the daemon is shutting down")]
    Cancelled,
    #[error("what is being fetched may take {limit} bytes all together, and they are taken")]
    NoRoom {
        /// Limit, in bytes.
        limit: u64,
    },
    /// The caller has no right to the cached image, and the pull policy forbids asking the registry.
    #[error(
        "{image} is in the cache for those who fetched it, and the pull policy Never forbids to ask the registry whether \
         this caller may have it"
    )]
    NotYours { image: String },
    #[error("{what} comes too slowly from the registry {registry}: fewer than {bytes} bytes in {seconds} s")]
    Slow {
        registry: String,
        what: String,
        /// Minimum number of bytes per time span.
        bytes: u64,
        /// Time span, in seconds.
        seconds: u64,
    },
    #[error("images are not made for this machine's architecture `{0}`")]
    Host(&'static str),
}

fn note(error: Option<&ImageError>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}

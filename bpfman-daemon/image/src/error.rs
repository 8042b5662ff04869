//! What can go wrong between a name and its bytecode.

use std::path::PathBuf;

use bpfman_image_format::{Digest, ReferenceError, RegistryAnswer, TlsFailure, causes};

use crate::{AuthorizationError, HelperRole, UntrustedReason};

/// What went wrong below: the error of a library or of this crate, or a sentence where nothing else says it.
pub type ErrorCause = Box<dyn std::error::Error + Send + Sync>;

/// Why an image was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name of the image is wrong.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The policy is `enforce`, and says nothing about this repository.
    #[error("no rule of the signature policy covers {image}, so it may not be loaded")]
    NoRule {
        /// The image.
        image: String,
        /// A pattern that would cover it.
        pattern: String,
    },
    /// The policy demands a signature, and there is none.
    #[error("{image} ({digest}) is not signed, and the rule `{rule}` demands a signature{}", note(unanswered.as_deref()))]
    Unsigned {
        /// The image.
        image: String,
        /// What it resolved to.
        digest: Digest,
        /// Pattern of the rule.
        rule: String,
        /// Refusal by the registry where more signatures may be.
        unanswered: Option<Box<ImageError>>,
    },
    /// The policy demands a signature. None that suffices was found, and the registry did not let itself be asked everywhere.
    #[error(
        "{image} ({digest}) is not signed as far as its registry answers, and the rule `{rule}` demands a signature{}; {source}",
        found.as_ref().map(|found| format!(" ({found})")).unwrap_or_default()
    )]
    SignaturesUnanswered {
        /// The image.
        image: String,
        /// What it resolved to.
        digest: Digest,
        /// Pattern of the rule.
        rule: String,
        /// Why the signatures that were found do not suffice; none if there are none.
        found: Option<Box<UntrustedReason>>,
        /// Failure of the registry to answer.
        source: Box<ImageError>,
    },
    /// There are signatures, but not enough by keys that the policy names.
    #[error("the signatures of {image} ({digest}) do not satisfy the rule `{rule}`: {why}")]
    Untrusted {
        /// The image.
        image: String,
        /// What it resolved to.
        digest: Digest,
        /// Pattern of the rule.
        rule: String,
        /// What is missing, and what each signature lacked.
        why: Box<UntrustedReason>,
    },
    /// Root has revoked it.
    #[error("{image}: {digest} is revoked by the signature policy")]
    Revoked {
        /// The image.
        image: String,
        /// What is revoked: an image, manifest, layer or object file.
        digest: Digest,
    },
    /// The rule names the only images that may be loaded, and this is none of them.
    #[error("{image} ({digest}) is none of the images that the rule `{rule}` names by digest")]
    NotPinned {
        /// The image.
        image: String,
        /// What it resolved to.
        digest: Digest,
        /// Pattern of the rule.
        rule: String,
    },
    /// An older image than was accepted before.
    #[error("{image} is a way back that the rule `{rule}` forbids by its annotation {annotation}: {why}")]
    WayBack {
        /// The image.
        image: String,
        /// Pattern of the rule.
        rule: String,
        /// The annotation that has to grow.
        annotation: String,
        /// What it says.
        why: String,
    },
    /// A layout whose images have no name, or several that may be meant.
    #[error("{path}: {why}; it has {present}")]
    NoImportName {
        /// Folder or archive.
        path: String,
        /// Reason.
        why: String,
        /// Its images, by name or digest.
        present: String,
    },
    /// The registry does not have it.
    #[error("{what} does not exist in the registry")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// An index without an image for this machine.
    #[error("{image} has no image for {wanted}; it has {present}")]
    NoPlatform {
        /// The image.
        image: String,
        /// This machine's platform.
        wanted: String,
        /// The platforms in the index.
        present: String,
    },
    /// The registry wants other credentials.
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer, or what is wrong with what it asks.
        why: Box<AuthorizationError>,
    },
    /// The registry does not answer, or fails at its side.
    #[error("{what} cannot be fetched from the registry {registry}: {}", causes(&**source))]
    Unreachable {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The failure of TLS among the causes.
        tls: Option<TlsFailure>,
        /// What failed, with its own causes.
        source: ErrorCause,
    },
    /// The registry answers, by a refusal.
    #[error("{what} cannot be fetched from the registry {registry}: it answers {answer}")]
    RegistryRefused {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Status and words.
        answer: RegistryAnswer,
    },
    /// The whole pull took too long.
    #[error("loading {image} took longer than {seconds} s")]
    Timeout {
        /// The image.
        image: String,
        /// The limit.
        seconds: u64,
    },
    /// A document or layer is not what it has to be.
    #[error("{what} is malformed: {}", causes(&**source))]
    Malformed {
        /// Which part of which image.
        what: String,
        /// The reason.
        source: ErrorCause,
    },
    /// The specification allows it, and it is not supported here.
    #[error("{what} is not supported: {}", causes(&**source))]
    Unsupported {
        /// Which part of which image.
        what: String,
        /// The unsupported part.
        source: ErrorCause,
    },
    /// A layer without an object file.
    #[error("{what} holds no object file: {}", causes(&**source))]
    NoObject {
        /// Which layer of which image.
        what: String,
        /// Content of the layer instead.
        source: ErrorCause,
    },
    /// Content that does not have the digest it was asked for by.
    #[error("{what} has the digest {found} instead of {expected}; somebody changed it")]
    WrongDigest {
        /// Which part of which image.
        what: String,
        /// Digest asked for.
        expected: Digest,
        /// Digest of what came.
        found: Digest,
    },
    /// Something is larger than its limit.
    #[error("{what} has {size} bytes; at most {limit} are allowed", size = size.map_or("too many".to_owned(), |s| s.to_string()))]
    TooLarge {
        /// Which part of which image.
        what: String,
        /// Its size, where it is known.
        size: Option<u64>,
        /// The limit in bytes.
        limit: u64,
    },
    /// The object file in the image is not one that this machine can load.
    #[error("the object file in {image} cannot be used: {}", causes(&**source))]
    Bytecode {
        /// The image.
        image: String,
        /// The reason.
        source: ErrorCause,
    },
    /// The labels are damaged.
    #[error("{image}: {}", causes(&**source))]
    Label {
        /// The image.
        image: String,
        /// What is wrong.
        source: ErrorCause,
    },
    /// The network may not be used, and the cache does not have all of it.
    #[error("{what} is not in the cache, and the pull policy Never forbids to fetch it")]
    NotCached {
        /// What is missing.
        what: String,
    },
    /// The cache cannot be read or written.
    #[error("image cache: {path}: {source}")]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No client for registries can be made.
    #[error("no client can be made for {of}: {}", causes(&**source))]
    Client {
        /// The registry, or the setting that it needs.
        of: String,
        /// Why not.
        source: ErrorCause,
    },
    /// A helper cannot be started, or ended in the middle of its work.
    #[error("the {role} for images did not do its work: {source}")]
    Helper {
        /// Which.
        role: HelperRole,
        /// What was seen of it.
        source: std::io::Error,
    },
    /// The daemon is shutting down.
    #[error("the load was cancelled: the daemon is shutting down")]
    Cancelled,
    /// Too much is being fetched at the same time.
    #[error("what is being fetched may take {limit} bytes all together, and they are taken")]
    NoRoom {
        /// The bytes.
        limit: u64,
    },
    /// Nothing says that this caller may have it.
    #[error(
        "{image} is in the cache for those who fetched it, and the pull policy Never forbids to ask the registry whether \
         this caller may have it"
    )]
    NotYours {
        /// The image.
        image: String,
    },
    /// A registry that sends too slowly.
    #[error("{what} comes too slowly from the registry {registry}: fewer than {bytes} bytes in {seconds} s")]
    Slow {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The least that has to come in that time.
        bytes: u64,
        /// The time.
        seconds: u64,
    },
    /// Images are not made for this machine.
    #[error("images are not made for this machine's architecture `{0}`")]
    Host(&'static str),
}

/// Formats an error that is shown beside a refusal.
fn note(error: Option<&ImageError>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}

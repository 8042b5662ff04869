//! What can go wrong between a name and its bytecode.

use std::path::PathBuf;

use bpfman_image_format::{Digest, ReferenceError, causes};

use crate::{AuthorizationError, HelperRole, RegistryAnswer, UntrustedReason};

/// The kind of a failure, for the tables of gRPC codes and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// The request itself is wrong.
    InvalidRequest,
    /// The registry does not have it.
    NotFound,
    /// The signature policy refuses it.
    Denied,
    /// The registry wants other credentials.
    Unauthorized,
    /// The registry does not answer, or not in time. Worth another try.
    Unreachable,
    /// What the registry holds is not a bytecode image, or is damaged.
    Malformed,
    /// Something is larger than its limit.
    TooLarge,
    /// The pull policy forbids the network, and the cache does not have it.
    NotCached,
    /// The cache on this machine cannot be read or written.
    Storage,
    /// A helper does not do its work.
    Helper,
}

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
        /// What is wrong with it.
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
        /// What is wrong with it.
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

/// The setting that a registry needs, if the connection failed at TLS.
fn fails_at_tls(source: &ErrorCause) -> Option<&'static str> {
    let why = causes(&**source);
    // `rustls` has no other word for a server that answers a greeting by HTTP.
    if why.contains("InvalidContentType") {
        return Some("plain_http = true");
    }
    why.contains("certificate").then_some("ca_file = \"/etc/bpfman/registry-ca.pem\"")
}

/// Formats an error that is shown beside a refusal.
fn note(error: Option<&ImageError>) -> String {
    error.map(|error| format!(" ({error})")).unwrap_or_default()
}

impl ImageError {
    /// True if the registry, asked again, may well answer.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::RegistryRefused { answer, .. } => answer.may_pass(),
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Unauthorized { .. } => true,
            _ => false,
        }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn category(&self) -> Category {
        match self {
            Self::Reference(_) | Self::NoImportName { .. } => Category::InvalidRequest,
            Self::SignaturesUnanswered { source, .. } => source.category(),
            Self::NoRule { .. }
            | Self::Unsigned { .. }
            | Self::Untrusted { .. }
            | Self::Revoked { .. }
            | Self::NotPinned { .. }
            | Self::WayBack { .. } => Category::Denied,
            Self::NotFound { .. } | Self::NoPlatform { .. } | Self::Host(_) => Category::NotFound,
            Self::Unauthorized { .. } | Self::NotYours { .. } => Category::Unauthorized,
            Self::Slow { .. }
            | Self::Unreachable { .. }
            | Self::RegistryRefused { .. }
            | Self::Timeout { .. }
            | Self::Client { .. }
            | Self::Cancelled => Category::Unreachable,
            Self::Malformed { .. }
            | Self::Unsupported { .. }
            | Self::NoObject { .. }
            | Self::WrongDigest { .. }
            | Self::Bytecode { .. }
            | Self::Label { .. } => Category::Malformed,
            Self::TooLarge { .. } | Self::NoRoom { .. } => Category::TooLarge,
            Self::NotCached { .. } => Category::NotCached,
            Self::Storage { .. } => Category::Storage,
            Self::Helper { .. } => Category::Helper,
        }
    }

    /// What the user can do next, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRule { pattern, .. } => format!(
                "name its key in policy.toml:\n[[images]]\npattern = \"{pattern}\"\nkeys = [\"/etc/bpfman/keys/example.pub\"]"
            ),
            Self::NoImportName { path, .. } => {
                format!("give it a name: bpfman image load {path} --name REGISTRY/REPOSITORY:TAG")
            }
            Self::Unsigned { .. } => "sign it with `bpfman image sign`".to_owned(),
            Self::Untrusted { rule, .. } => format!(
                "its keys and identities stand at `pattern = \"{rule}\"` in the daemon's policy.toml; sign it with one of \
                 them, or name its signer there"
            ),
            Self::SignaturesUnanswered { source, .. } => return source.hint(),
            Self::Revoked { .. } => "`[revoked]` in policy.toml names it; load another version".to_owned(),
            Self::NotPinned { .. } => {
                "add its digest to the rule in policy.toml, if it is meant to run".to_owned()
            }
            Self::WayBack { .. } => {
                "sign it with a higher value of the annotation, if going back is meant".to_owned()
            }
            Self::Unauthorized { why, .. } => match &**why {
                // Its own words say what is wrong.
                AuthorizationError::Refused(answer) if answer.status() == 403 && answer.explains() => return None,
                AuthorizationError::Refused(_) => {
                    "check the image's name: registries answer so, too, for what does not exist; --registry-auth takes the \
                     base64 of user:password"
                        .to_owned()
                }
                _ => "--registry-auth takes the base64 of user:password for the registry".to_owned(),
            },
            Self::RegistryRefused { answer, .. } if answer.status() == 429 => {
                "try again later; with --registry-auth many registries allow more".to_owned()
            }
            Self::RegistryRefused { answer, .. } if !answer.may_pass() => return None,
            Self::NoRoom { .. } => {
                "try again when others have ended, or raise images.cache_mib in bpfman.toml".to_owned()
            }
            Self::NotYours { .. } => {
                "give the registry's password, or use the pull policy IfNotPresent; an image that root imports is for all"
                    .to_owned()
            }
            Self::Unreachable { registry, source, .. } if fails_at_tls(source).is_some() => {
                let setting = fails_at_tls(source).unwrap_or_default();
                format!("say in bpfman.toml how it is reached:\n[registries.\"{registry}\"]\n{setting}")
            }
            Self::Slow { .. }
            | Self::Unreachable { .. }
            | Self::RegistryRefused { .. }
            | Self::Timeout { .. } => {
                "check that the registry answers, then try again".to_owned()
            }
            Self::NotCached { .. } => "`bpfman image pull` fetches it".to_owned(),
            Self::Helper { .. } => {
                "try again; if it fails for this image alone, something in the image ends who reads it: the daemon's log \
                 and the kernel's (SIGSYS, out of memory) say what"
                    .to_owned()
            }
            Self::Client { .. } => {
                "install the package ca-certificates, or name a ca_file for the registry in bpfman.toml"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

//! Kinds of failures, and which of them may pass.

use crate::ImageError;

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
}

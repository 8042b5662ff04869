use crate::ImageError;

/// Category of an error, for the tables of gRPC codes and exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    InvalidRequest,
    /// The registry does not have the image.
    NotFound,
    /// The signature policy refuses it.
    Denied,
    /// The registry requires other credentials.
    Unauthorized,
    /// The registry does not answer, or not in time. A later attempt may succeed.
    Unreachable,
    /// The content is damaged, or not a bytecode image.
    Malformed,
    /// The content exceeds a limit.
    TooLarge,
    /// The pull policy forbids network access, and the image is not in the cache.
    NotCached,
    /// The cache on this machine cannot be read or written.
    Storage,
    /// A worker process failed.
    Worker,
}

impl ImageError {
    /// Returns whether a later request to the registry may succeed.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::RegistryRefused { answer, .. } => answer.may_pass(),
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Unauthorized { .. } => true,
            _ => false,
        }
    }

    /// Returns the category of this error.
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
            Self::Worker { .. } => Category::Worker,
        }
    }
}

//! Places of signatures in a registry, and the errors that do not end a search.

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// Maximum number of layers that are tried for the signatures of one digest, found or not.
pub const MAX_LAYERS: usize = 1024;

/// Place of signatures in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignaturePlace {
    /// cosign's own tag.
    Tag,
    /// The referrers API, or its fallback tag.
    Referrers,
}

impl SignaturePlace {
    /// All places. The first one needs a single request, and makes the others unnecessary if its signatures suffice.
    pub const ALL: [Self; 2] = [Self::Tag, Self::Referrers];
}

/// Returns whether the content found is faulty, in which case the search continues.
pub const fn is_fault(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Malformed { .. }
            | ImageError::TooLarge { .. }
            | ImageError::WrongDigest { .. }
            | ImageError::NotFound { .. }
    )
}

/// Returns whether the registry did not answer a request: other places may still have signatures.
pub const fn is_unanswered(error: &ImageError) -> bool {
    matches!(
        error,
        ImageError::Unauthorized { .. }
            | ImageError::Unreachable { .. }
            | ImageError::RegistryRefused { .. }
            | ImageError::Slow { .. }
    )
}

/// Returns whether a search continues after this error. Local failures end it.
pub(crate) const fn may_continue_search(error: &ImageError) -> bool {
    is_fault(error) || is_unanswered(error)
}

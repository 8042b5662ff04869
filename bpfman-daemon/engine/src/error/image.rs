//! Failures of images.

use super::ErrorKind;

/// Kind of an image failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFailureKind {
    /// The image does not exist, or is not in the cache and must not be pulled.
    NotFound,
    /// The reference, manifest, layer or policy is invalid.
    Malformed,
    /// The registry rejects the credentials.
    Denied,
    /// A signature is missing or wrong.
    Signature,
    /// The registry could not be reached.
    Registry,
    /// A size limit is exceeded.
    TooLarge,
    /// The cache's disk failed, or the daemon has a fault.
    Internal,
}

/// Failure to fetch or verify an image.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageFailure {
    /// Kind of the failure.
    pub kind: ImageFailureKind,
    /// Message: the step that failed, its subject and the cause.
    pub message: String,
    /// Next step for the user.
    pub hint: Option<String>,
}

impl ImageFailure {
    pub(crate) const fn error_kind(&self) -> ErrorKind {
        match self.kind {
            ImageFailureKind::NotFound => ErrorKind::NotFound,
            ImageFailureKind::Malformed => ErrorKind::Invalid,
            ImageFailureKind::Denied => ErrorKind::Denied,
            ImageFailureKind::Signature => ErrorKind::Signature,
            ImageFailureKind::Registry => ErrorKind::Registry,
            ImageFailureKind::TooLarge => ErrorKind::TooLarge,
            ImageFailureKind::Internal => ErrorKind::Internal,
        }
    }
}

//! What failed of an image.

use super::ErrorKind;

/// The kind of an image's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFailureKind {
    /// No such image, or not in the cache and not to be pulled.
    NotFound,
    /// The reference, manifest, layer or policy makes no sense.
    Malformed,
    /// The registry asks for other credentials.
    Denied,
    /// A signature is missing or wrong.
    Signature,
    /// The registry could not be asked.
    Registry,
    /// Above a limit.
    TooLarge,
    /// The cache's disk, or the daemon's own fault.
    Internal,
}

/// An image that cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageFailure {
    /// Its kind.
    pub kind: ImageFailureKind,
    /// What failed, on what, why.
    pub message: String,
    /// What to do next.
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

//! Failures of `oci-client`, in the words of this crate.

use std::io;

use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::registry_connection::RegistryConnection;
use crate::registry_words::{REFUSAL_LIMIT, registry_words};
use crate::{RegistryAnswer, RegistryError, causes};

/// A failure of a call, by what may come of it.
#[derive(Debug)]
pub(crate) enum OciFailure {
    /// The connection broke.
    Broken(reqwest::Error),
    /// The registry refuses. Its headers are lost in oci-client, and with them `Retry-After`.
    Answer(RegistryAnswer),
    /// An answer of success without what the specification wants beside it.
    UnexpectedSuccess(String),
    /// The registry says that it does not have it, and by which code; oci-client drops the status beside it.
    Missing,
    /// The same of a refusal to this caller.
    Denied(String),
    /// Content of another digest.
    WrongDigest,
    /// Any other.
    Other(String),
}

impl OciFailure {
    /// Returns whether the registry asks for another credential.
    pub(crate) fn is_challenge(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.status() == 401)
    }

    /// Returns whether an upload may have succeeded all the same.
    pub(crate) const fn may_be_success(&self) -> bool {
        matches!(self, Self::UnexpectedSuccess(_))
    }

    /// The error of a transfer from the registry.
    pub(crate) fn of_read(self, connection: &RegistryConnection, what: &str) -> RegistryError {
        match self {
            Self::Answer(answer) if answer.status() == 404 => RegistryError::NotFound(what.to_owned()),
            other => other.of_write(connection, what),
        }
    }

    /// The error of a transfer to the registry.
    pub(crate) fn of_write(self, connection: &RegistryConnection, what: &str) -> RegistryError {
        match self {
            Self::Broken(error) => connection.broken(error),
            Self::Answer(answer) => connection.answered(what, &answer),
            Self::Missing => RegistryError::NotFound(what.to_owned()),
            Self::Denied(why) => connection.unauthorized(what, why),
            Self::WrongDigest => {
                connection.refused(what, "its content is not what its digest says".to_owned())
            }
            Self::UnexpectedSuccess(why) | Self::Other(why) => connection.refused(what, why),
        }
    }
}

impl From<OciDistributionError> for OciFailure {
    fn from(error: OciDistributionError) -> Self {
        let answer = |status: u16, body: &[u8]| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = &body[..body.len().min(REFUSAL_LIMIT)];
            Self::Answer(RegistryAnswer::new(status, &HeaderMap::new(), body))
        };
        match error {
            OciDistributionError::RequestError(error) => Self::Broken(error),
            OciDistributionError::IoError(error) => error.into(),
            // Not their own words: they repeat the address, which may hold the secret of an upload.
            OciDistributionError::ServerError { code, message, .. } => answer(code, message.as_bytes()),
            OciDistributionError::UnauthorizedError { .. } => answer(401, b""),
            OciDistributionError::RegistryError { envelope, .. } => envelope.into(),
            OciDistributionError::RegistryNoLocationError => {
                Self::UnexpectedSuccess("it names no place to upload to".to_owned())
            }
            OciDistributionError::SpecViolationError(why) => Self::UnexpectedSuccess(why),
            OciDistributionError::DigestError(DigestError::VerificationError { .. }) => Self::WrongDigest,
            other => Self::Other(causes(&other)),
        }
    }
}

/// From a stream, which wraps whatever fails in an I/O error.
impl From<io::Error> for OciFailure {
    fn from(error: io::Error) -> Self {
        let text = causes(&error);
        let Some(wrapped) = error.into_inner() else { return Self::Other(text) };
        match wrapped.downcast::<reqwest::Error>() {
            Ok(error) => Self::Broken(*error),
            Err(other) if other.is::<DigestError>() => Self::WrongDigest,
            Err(_) => Self::Other(text),
        }
    }
}

/// From the codes and words of a refusal.
impl From<OciEnvelope> for OciFailure {
    fn from(envelope: OciEnvelope) -> Self {
        let says = |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
        let words = serde_json::to_vec(&envelope).ok().and_then(|body| registry_words(&body));
        let why = format!("it answers {}", words.as_deref().unwrap_or("no reason"));
        if says(&[OciErrorCode::BlobUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
            Self::Missing
        } else if says(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
            Self::Denied(why)
        } else {
            Self::Other(why)
        }
    }
}

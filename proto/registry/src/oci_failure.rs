use std::io;

use oci_client::errors::{DigestError, OciDistributionError, OciEnvelope, OciErrorCode};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::RegistryError;
use crate::registry_connection::RegistryConnection;
use bpfman_image_format::{REFUSAL_LIMIT, registry_words};
use bpfman_image_format::{RegistryAnswer, causes};

#[derive(Debug)]
pub(crate) enum OciFailure {
    Broken(reqwest::Error),
    /// oci-client drops the headers, and with them `Retry-After`.
    Answer(RegistryAnswer),
    UnexpectedSuccess(String),
    Missing,
    Denied(String),
    WrongDigest,
    Other(String),
}

impl OciFailure {
    pub(crate) fn is_challenge(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.status() == 401)
    }

    pub(crate) const fn may_be_success(&self) -> bool {
        matches!(self, Self::UnexpectedSuccess(_))
    }

    pub(crate) fn of_read(self, connection: &RegistryConnection, what: &str) -> RegistryError {
        match self {
            Self::Answer(answer) if answer.status() == 404 => RegistryError::NotFound(what.to_owned()),
            other => other.of_write(connection, what),
        }
    }

    pub(crate) fn of_write(self, connection: &RegistryConnection, what: &str) -> RegistryError {
        match self {
            Self::Broken(error) => connection.broken(error),
            Self::Answer(answer) => connection.answered(what, &answer),
            Self::Missing => RegistryError::NotFound(what.to_owned()),
            Self::Denied(why) => connection.unauthorized(what, why),
            Self::WrongDigest => connection.refused(what, "its content does not match its digest".to_owned()),
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
            // Do not use the errors' texts: they repeat the address, which may hold the secret of an upload.
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

//! Credentials for one registry, as its challenge asks for them.

use reqwest::header::{HeaderValue, InvalidHeaderValue};

use crate::Credential;

/// A credential in the form that the registry's challenge asks for. Without `Debug`: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// User and password.
    Basic(Credential),
    /// A token of the service that the challenge names.
    Bearer(String),
}

impl Authorization {
    /// Returns the value of the header `Authorization`, which is kept out of logs.
    pub(crate) fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let text = match self {
            Self::Basic(credential) => credential.basic(),
            Self::Bearer(token) => format!("Bearer {token}"),
        };
        let mut header = HeaderValue::try_from(text)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

//! Credentials for one registry, in the form that its challenge requests.

use reqwest::header::{HeaderValue, InvalidHeaderValue};

use bpfman_image_format::Credential;

/// Credential in the form that the registry's challenge requests. It has no `Debug` because it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    Basic(Credential),
    /// Token of the service that the challenge names.
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

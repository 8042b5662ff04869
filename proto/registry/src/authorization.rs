use reqwest::header::{HeaderValue, InvalidHeaderValue};

use bpfman_image_format::Credential;

/// Secret of a request's header, therefore without `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    Basic(Credential),
    Bearer(String),
}

impl Authorization {
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

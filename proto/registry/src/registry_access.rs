use reqwest::Certificate;

use crate::RegistryError;
use bpfman_image_format::{Credential, ImageReference, causes};

/// Access to one registry. It is never used for another registry.
#[derive(Clone, Debug, Default)]
pub struct RegistryAccess {
    pub(crate) credential: Option<Credential>,
    pub(crate) plain_http: bool,
    pub(crate) authorities: Option<RegistryAuthorities>,
}

#[derive(Clone, Debug)]
pub(crate) struct RegistryAuthorities {
    pub(crate) pem: Vec<u8>,
}

impl RegistryAuthorities {
    pub(crate) fn certificates(&self) -> Result<Vec<Certificate>, RegistryError> {
        Certificate::from_pem_bundle(&self.pem).map_err(|error| RegistryError::Authorities(causes(&error)))
    }
}

impl RegistryAccess {
    /// Sets user and password.
    #[must_use]
    pub fn with_credential(self, credential: Option<Credential>) -> Self {
        Self { credential, ..self }
    }

    /// Disables TLS. Registries on this machine never use it, unless authorities are set.
    #[must_use]
    pub fn with_plain_http(self, plain_http: bool) -> Self {
        Self { plain_http, ..self }
    }

    /// Sets certificate authorities, instead of those of this machine; fails if the text holds none.
    pub fn with_authorities(self, pem: &[u8]) -> Result<Self, RegistryError> {
        let authorities = RegistryAuthorities { pem: pem.to_vec() };
        if authorities.certificates()?.is_empty() {
            return Err(RegistryError::Authorities("there is no certificate in PEM".to_owned()));
        }
        Ok(Self { authorities: Some(authorities), ..self })
    }

    pub(crate) fn is_plain(&self, image: &ImageReference) -> bool {
        self.plain_http || image.is_loopback() && self.authorities.is_none()
    }
}

impl From<Option<&Credential>> for RegistryAccess {
    fn from(credential: Option<&Credential>) -> Self {
        Self::default().with_credential(credential.cloned())
    }
}

impl From<&Self> for RegistryAccess {
    fn from(access: &Self) -> Self {
        access.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_none_are_refused() {
        for text in ["", "no certificate", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            let refused = RegistryAccess::default().with_authorities(text.as_bytes());
            assert!(matches!(refused, Err(RegistryError::Authorities(_))), "{text}");
        }
    }
}

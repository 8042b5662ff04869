//! How one registry is reached: password, plain HTTP, certificate authorities.

use reqwest::Certificate;

use crate::{Credential, RegistryError, causes};

/// How one registry is reached. Nothing of it is remembered for another registry.
#[derive(Clone, Debug, Default)]
pub struct RegistryAccess {
    pub(crate) credential: Option<Credential>,
    pub(crate) plain_http: bool,
    pub(crate) authorities: Option<Vec<Certificate>>,
}

impl RegistryAccess {
    /// With this user and password.
    #[must_use]
    pub fn with_credential(self, credential: Option<Credential>) -> Self {
        Self { credential, ..self }
    }

    /// Without TLS. Registries of this machine are reached so in any case, unless they have authorities of their own.
    #[must_use]
    pub fn with_plain_http(self, plain_http: bool) -> Self {
        Self { plain_http, ..self }
    }

    /// With these certificate authorities instead of those of this machine.
    ///
    /// # Errors
    /// [`RegistryError::Authorities`]: the text holds no certificate.
    pub fn with_authorities(self, pem: &[u8]) -> Result<Self, RegistryError> {
        let found =
            Certificate::from_pem_bundle(pem).map_err(|error| RegistryError::Authorities(causes(&error)))?;
        if found.is_empty() {
            return Err(RegistryError::Authorities("there is no certificate in PEM".to_owned()));
        }
        Ok(Self { authorities: Some(found), ..self })
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

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// User and password for a registry. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    user: String,
    password: String,
}

/// Error of a text that is not base64 of `user:password`. It does not repeat the text, which is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry credential is not base64 of `user:password`")]
pub struct CredentialError;

impl Credential {
    /// Creates a credential from user and password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// Parses base64 of `user:password`, the form of `--registry-auth`.
    pub fn from_base64(text: &str) -> Result<Self, CredentialError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| CredentialError)?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialError)?;
        let (user, password) = text.split_once(':').ok_or(CredentialError)?;
        if user.is_empty() {
            return Err(CredentialError);
        }
        Ok(Self::new(user, password))
    }

    /// Returns the user name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Returns the value of an `Authorization` header by the scheme `Basic`. It is as secret as the password.
    #[must_use]
    pub fn basic(&self) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_hidden() {
        let credential = Credential::from_base64("dXNlcjpwYXNzOndvcmQ=\n").unwrap();
        assert_eq!((credential.user(), credential.password()), ("user", "pass:word"));
        assert_eq!(credential.basic(), "Basic dXNlcjpwYXNzOndvcmQ=");
        assert!(!format!("{credential:?}").contains("pass"));
        for text in ["", "!", "dXNlcg==", "OnBhc3M="] {
            assert_eq!(Credential::from_base64(text), Err(CredentialError), "{text}");
        }
    }
}

//! Credentials for a registry, which are part of a single call and never of metadata.

use std::fmt;

use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::v1::{BytecodeLocation, LoadRequest};

#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials {
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Adds credentials to a request, if it is for an image.
#[must_use]
pub fn with(mut request: LoadRequest, credentials: Option<&RegistryCredentials>) -> LoadRequest {
    if let (Some(BytecodeLocation { location: Some(Location::Image(image)) }), Some(credentials)) =
        (&mut request.bytecode, credentials)
    {
        image.username = Some(credentials.username.clone());
        image.password = Some(credentials.password.clone());
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let credentials = RegistryCredentials { username: "ann".into(), password: "secret".into() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}

//! Registry access and its credentials.

pub mod credentials;
mod secret;

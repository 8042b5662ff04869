//! Failures of a registry that this process talks to.

use crate::TlsFailure;

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not answer, or the connection breaks.
    #[error("the registry {registry} cannot be reached: {why}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// The chain of causes.
        why: String,
        /// The failure of TLS among them.
        tls: Option<TlsFailure>,
    },
    /// It wants other credentials, or these may not do this.
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// Resource that was requested.
        what: String,
        /// Its answer.
        why: String,
    },
    /// It does not have it.
    #[error("{0} does not exist in the registry")]
    NotFound(String),
    /// Any other refusal.
    #[error("the registry {registry} failed at {what}: {why}")]
    Refused {
        /// The registry.
        registry: String,
        /// Resource that was requested.
        what: String,
        /// Its answer.
        why: String,
    },
    /// The client cannot be made: no certificate authorities on this machine, for example.
    #[error("no client for registries can be made: {0}. hint: install the package ca-certificates")]
    Client(String),
    /// Certificate authorities that are none.
    #[error("the certificate authorities of the registry have to be certificates in PEM: {0}")]
    Authorities(String),
}

use bpfman_image_format::TlsFailure;

/// Reason why a registry did not fulfil a request.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the registry {registry} cannot be reached: {why}")]
    Unreachable {
        /// Host of the registry.
        registry: String,
        /// Error and its causes.
        why: String,
        /// TLS failure among the causes.
        tls: Option<TlsFailure>,
    },
    /// The registry requests other credentials, or denies access to these.
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Unauthorized {
        /// Host of the registry.
        registry: String,
        /// Requested resource.
        what: String,
        /// Answer of the registry.
        why: String,
    },
    #[error("{0} does not exist in the registry")]
    NotFound(String),
    #[error("the registry {registry} failed at {what}: {why}")]
    Refused {
        /// Host of the registry.
        registry: String,
        /// Requested resource.
        what: String,
        /// Answer of the registry.
        why: String,
    },
    /// The HTTP client cannot be created, for example because this machine has no certificate authorities.
    #[error("no client for registries can be made: {0}")]
    Client(String),
    #[error("the certificate authorities of the registry have to be certificates in PEM: {0}")]
    Authorities(String),
}

use bpfman_image_format::AuthFileError;

use bpfman_image_format::RegistryAnswer;

/// Reason why a registry gives no access. Each message continues a sentence that begins with the registry's name.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// The registry refuses the credentials, or all access.
    #[error("it answers {0}")]
    Refused(RegistryAnswer),
    /// The credentials of this machine cannot be read.
    #[error(transparent)]
    AuthFile(#[from] AuthFileError),
    #[error("it wants a user and a password, and none were given")]
    NoCredential,
    /// The token or password cannot be written into a header.
    #[error("its token is not text")]
    NotText,
    #[error("it names no place to get a token from")]
    NoRealm,
    #[error("it names no address to get a token from")]
    BadRealm,
    /// The address of the token service contains a user name.
    #[error("it names a token service with a user in its address, at {0}")]
    UserInRealm(String),
    #[error("it wants credentials sent to {0}, without TLS")]
    NoTls(String),
    /// The token service is at another site, or at an address that only this machine can reach.
    #[error(
        "it sends for a token to {0}, which is another site or a private address; if that is meant, name it in \
         other_hosts of this registry in bpfman.toml"
    )]
    ForeignRealm(String),
    /// The token service cannot be reached: its address, and the chain of causes.
    #[error("no token from {0}: {1}")]
    Unreachable(String, String),
    /// Text of an error that a worker process reported.
    #[error("{0}")]
    Reported(String),
    /// The token service answered without a token.
    #[error("{realm} {what}")]
    NoToken {
        realm: String,
        /// Answer of the token service, as part of the message.
        what: String,
    },
}

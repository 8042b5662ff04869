//! Why a registry gives no access.

use bpfman_image_format::AuthFileError;

use bpfman_image_format::RegistryAnswer;

/// Why a registry gives no access, or its wish for credentials cannot be met. Texts go on from the registry's name.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// It refuses what it was given, or everybody.
    #[error("it answers {0}")]
    Refused(RegistryAnswer),
    /// The credentials of this machine cannot be read.
    #[error(transparent)]
    AuthFile(#[from] AuthFileError),
    /// It asks, and there is nothing to answer.
    #[error("it wants a user and a password, and none were given")]
    NoCredential,
    /// A token or password that no header can carry.
    #[error("its token is not text")]
    NotText,
    /// A challenge without the service to ask for a token.
    #[error("it names no place to get a token from")]
    NoRealm,
    /// The service's address is none.
    #[error("it names no address to get a token from")]
    BadRealm,
    /// The service's address carries a user of its own.
    #[error("it names a token service with a user in its address, at {0}")]
    UserInRealm(String),
    /// The password would be sent in the open.
    #[error("it wants credentials sent to {0}, without TLS")]
    NoTls(String),
    /// The password would be sent to somebody else, or to what only this machine can reach.
    #[error(
        "it sends for a token to {0}, which is another site or a private address; if that is meant, name it in \
         other_hosts of this registry in bpfman.toml"
    )]
    ForeignRealm(String),
    /// The token service cannot be reached: its address, and the chain of causes.
    #[error("no token from {0}: {1}")]
    Unreachable(String, String),
    /// As a helper told it.
    #[error("{0}")]
    Told(String),
    /// The token service answers, but not with a token.
    #[error("{realm} {what}")]
    NoToken {
        /// Its address.
        realm: String,
        /// What it does instead.
        what: String,
    },
}

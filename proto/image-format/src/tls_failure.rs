//! TLS failures that a user can fix by a setting.

use serde::{Deserialize, Serialize};

/// Reason of a failed TLS connection, if a setting of the registry fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsFailure {
    /// The server does not speak TLS.
    NoTls,
    /// No trusted authority has signed the server's certificate.
    Certificate,
}

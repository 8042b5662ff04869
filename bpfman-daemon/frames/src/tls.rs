//! Messages between the daemon and a process that speaks TLS for it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The only request: the TLS server's identity, in PEM. Without a client's connection, it is only checked.
#[derive(Clone, Serialize, Deserialize)]
pub struct TlsPem {
    /// Certificate, followed by intermediate certificates.
    pub certificate: String,
    pub key: String,
    /// Authorities of client certificates; `None` allows every client.
    pub client_ca: Option<String>,
}

impl fmt::Debug for TlsPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Part of an identity that cannot be used, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsFault {
    Certificate(String),
    /// The private key.
    Key(String),
    /// The authorities of clients.
    ClientCa(String),
    /// Certificate and key do not belong together.
    Pair(String),
}

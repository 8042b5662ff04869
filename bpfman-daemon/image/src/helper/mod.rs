//! Processing of untrusted input in helpers without rights: a fetcher that connects to registries, and a verifier that
//! parses manifests, signatures and layers.
//!
//! A helper is the other end of a socket. The embedder decides what runs it: [`StartHelper`] starts a process without
//! rights, [`HelperThreads`] a thread; the protocol is the same. The daemon does not trust the answers: it computes
//! every digest itself, and decides what is kept.

mod fetcher;
mod link;
mod registry_client;
mod sent_error;
mod sent_fetch;
mod sent_verify;
mod verifier;
mod verifier_client;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

pub(crate) use registry_client::RegistryClient;
pub(crate) use sent_verify::{ConfigAnswer, DocumentAnswer, ReadConfig};
pub(crate) use verifier_client::{Checked, Unpacked, VerifierClient};

/// Role of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperRole {
    /// Connects to the registries of one load. Needs the network, the resolver's files, and the certificate
    /// authorities.
    Fetcher,
    /// Parses fetched content. Needs no rights.
    Verifier,
}

impl fmt::Display for HelperRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetcher => "fetcher",
            Self::Verifier => "verifier",
        })
    }
}

/// Handle of one helper.
#[derive(Debug)]
pub struct HelperLink {
    /// Socket to the helper.
    pub stream: UnixStream,
    /// Descriptor that ends the helper when it is closed. `None`: closing the socket suffices.
    pub life: Option<OwnedFd>,
}

/// Starter of helpers.
pub trait StartHelper: fmt::Debug + Send + Sync {
    /// Starts a helper for a single load. Must wait for nothing but the kernel. Fails if the kernel refuses, or if the
    /// process that starts helpers has ended.
    fn start(&self, role: HelperRole) -> io::Result<HelperLink>;
}

/// Starter of helpers as threads of this process, with all its rights.
#[derive(Clone, Copy, Debug, Default)]
pub struct HelperThreads;

impl StartHelper for HelperThreads {
    fn start(&self, role: HelperRole) -> io::Result<HelperLink> {
        let (stream, other) = UnixStream::pair()?;
        let serve = move || {
            if let Err(error) = serve_helper(role, other) {
                tracing::debug!(%role, %error, "a helper ended");
            }
        };
        std::thread::Builder::new().name(role.to_string()).spawn(serve)?;
        Ok(HelperLink { stream, life: None })
    }
}

/// Runs a helper until the other end is closed. It opens no file by a received name, and keeps nothing.
///
/// # Errors
/// Fails if the other end violates the protocol, or closes the connection within a message.
pub fn serve_helper(role: HelperRole, stream: UnixStream) -> io::Result<()> {
    match role {
        HelperRole::Fetcher => fetcher::serve(stream),
        HelperRole::Verifier => verifier::serve(stream),
    }
}

//! Work on what strangers wrote, done by somebody who has nothing: a fetcher that speaks to registries, and a verifier that
//! reads manifests, signatures and layers.
//!
//! Both are the other end of a socket. Who runs that end is the embedder's: [`StartHelper`] starts a process without rights
//! for it, and [`HelperThreads`] a thread. What is said is the same. The side that asks trusts no answer with more than the
//! answer itself: it computes every digest of what it is given, and decides what is kept.

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

/// What a helper is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperRole {
    /// Speaks to the registries of one load. Needs the network, and the files by which names are resolved and authorities
    /// are trusted.
    Fetcher,
    /// Reads what was fetched. Needs nothing.
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

/// One helper, as the one who asks has it.
#[derive(Debug)]
pub struct HelperLink {
    /// Leads to it.
    pub stream: UnixStream,
    /// Whoever runs it ends it when this is closed, whatever it does. None: closing the stream has to do.
    pub life: Option<OwnedFd>,
}

/// Starts helpers.
pub trait StartHelper: fmt::Debug + Send + Sync {
    /// Starts one, which then works for a single load. Must not wait for anything but the kernel.
    ///
    /// # Errors
    /// The kernel refuses, or nobody is left to start any.
    fn start(&self, role: HelperRole) -> io::Result<HelperLink>;
}

/// Helpers as threads of this process: they have all its rights.
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

/// Does the work of a helper until the other end is closed. Opens no file by a name that it was told, and keeps nothing.
///
/// # Errors
/// The other end speaks another language, or ended in the middle of a word.
pub fn serve_helper(role: HelperRole, stream: UnixStream) -> io::Result<()> {
    match role {
        HelperRole::Fetcher => fetcher::serve(stream),
        HelperRole::Verifier => verifier::serve(stream),
    }
}

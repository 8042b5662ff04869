//! Processing of untrusted input in workers without rights: a fetcher that connects to registries, and a verifier that
//! parses manifests, signatures and layers.
//!
//! A worker, which [`StartWorker`] starts and the crate `bpfman-worker` implements, has the other end of a
//! socket. The daemon does not trust its answers: it computes every digest itself, and decides what is kept.

mod link;
mod registry_client;
mod sent_error;
mod sent_fetch;
mod sent_verify;
mod verifier_client;

use std::fmt;
use std::io;

use bpfmand_frames::WorkerLink;
pub(crate) use registry_client::RegistryClient;
pub use sent_error::SentError;
pub use sent_fetch::{BlobEvent, FetchAnswer, FetchQuestion};
pub use sent_verify::{
    ConfigAnswer, DocumentAnswer, ReadConfig, SentSignatures, SourceQuestion, VerifyQuestion,
};
pub(crate) use verifier_client::{Checked, Unpacked, VerifierClient};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerRole {
    /// Connects to the registries of one load. Needs network, resolver files and certificate authorities.
    Fetcher,
    /// Parses fetched content. Needs no rights.
    Verifier,
}

impl fmt::Display for WorkerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetcher => "fetcher",
            Self::Verifier => "verifier",
        })
    }
}

/// Starter of workers.
pub trait StartWorker: fmt::Debug + Send + Sync {
    /// Starts a worker for a single load; waits for nothing but the kernel.
    fn start(&self, role: WorkerRole) -> io::Result<WorkerLink>;
}

//! Messages between the daemon and a fetcher.
#![expect(
    missing_docs,
    reason = "messages between two programs of one version, whose fields name their contents"
)]

use bpfman_image_format::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::sent_error::SentError;
use crate::Limits;
use crate::settings::RepositoryPlace;

/// Question to a fetcher. `Open` is the first, and sent once.
#[derive(Debug, Serialize, Deserialize)]
pub enum FetchQuestion {
    /// Names the repository of all later questions. Does not connect yet.
    Open {
        name: String,
        places: Vec<RepositoryPlace>,
        limits: Limits,
    },
    // The content of the manifest follows the answer.
    Manifest {
        target: String,
        limit: u64,
    },
    HasManifest {
        digest: Digest,
    },
    HasBlob {
        descriptor: Descriptor,
    },
    // `BlobEvent`s follow instead of an answer.
    Blob {
        descriptor: Descriptor,
        limit: u64,
    },
    // The answer is the number of pages, each of which follows; `None`: the registry has no such list.
    Referrers {
        digest: Digest,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct FetchAnswer<T> {
    /// Set if the registry, or a mirror of it, was shown a password.
    pub used_password: bool,
    /// Hosts of mirrors that have not answered so far.
    pub silent: Vec<String>,
    pub result: Result<T, SentError>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum BlobEvent {
    /// The blob starts again: discard earlier pieces.
    Restart,
    End(FetchAnswer<()>),
}

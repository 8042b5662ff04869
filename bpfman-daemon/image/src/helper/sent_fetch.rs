//! What a fetcher is asked, and what it answers.

use bpfman_image_format::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::sent_error::SentError;
use crate::Limits;
use crate::settings::RepositoryPlace;

/// A question to a fetcher. [`FetchQuestion::Open`] is the first, and asked once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FetchQuestion {
    /// Which repository the others are about. Connects to nothing yet.
    Open { name: String, places: Vec<RepositoryPlace>, limits: Limits },
    /// A manifest at a tag or digest. Content follows the answer.
    Manifest { target: String, limit: u64 },
    /// Whether the repository has a manifest.
    HasManifest { digest: Digest },
    /// Whether it has a blob.
    HasBlob { descriptor: Descriptor },
    /// A blob: [`BlobEvent`]s instead of an answer.
    Blob { descriptor: Descriptor, limit: u64 },
    /// The list of what refers to a digest: the answer says how many pages there are, and each follows as content. None:
    /// there is no such list.
    Referrers { digest: Digest },
}

/// An answer of a fetcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchAnswer<T> {
    /// True if the registry, or a mirror of it, was shown a password.
    pub(crate) used_password: bool,
    /// Hosts of mirrors that did not answer so far.
    pub(crate) silent: Vec<String>,
    pub(crate) result: Result<T, SentError>,
}

/// Beside pieces, what happens to a blob on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum BlobEvent {
    /// What came so far is to be forgotten: it comes again.
    Restart,
    /// It is whole, or it failed.
    End(FetchAnswer<()>),
}

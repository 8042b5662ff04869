//! What a fetcher is asked, and what it answers.

use std::collections::BTreeSet;

use bpfman_image_format::{Credential, Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::sent_error::SentError;
use crate::settings::{Authorities, RepositoryPlace};
use crate::{ImageError, Limits};

/// A question to a fetcher. [`FetchQuestion::Open`] is the first, and asked once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FetchQuestion {
    /// Which repository the others are about. Connects to nothing yet.
    Open { name: String, places: Vec<SentPlace>, limits: Limits },
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

/// A place of a repository.
#[derive(Serialize, Deserialize)]
pub(crate) struct SentPlace {
    host: String,
    repository: String,
    plain_http: bool,
    loopback: bool,
    /// PEM.
    authorities: Option<String>,
    other_hosts: BTreeSet<String>,
    /// User and password.
    credential: Option<(String, String)>,
    registry: String,
}

impl std::fmt::Debug for SentPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentPlace").field("host", &self.host).finish_non_exhaustive()
    }
}

impl From<RepositoryPlace> for SentPlace {
    fn from(place: RepositoryPlace) -> Self {
        let RepositoryPlace {
            host,
            repository,
            plain_http,
            loopback,
            authorities,
            other_hosts,
            credential,
            registry,
        } = place;
        Self {
            host,
            repository,
            plain_http,
            loopback,
            authorities: authorities.map(|authorities| authorities.pem().to_owned()),
            other_hosts: other_hosts.iter().map(|host| host.as_str().to_owned()).collect(),
            credential: credential
                .map(|credential| (credential.user().to_owned(), credential.password().to_owned())),
            registry,
        }
    }
}

impl TryFrom<SentPlace> for RepositoryPlace {
    type Error = ImageError;

    fn try_from(place: SentPlace) -> Result<Self, ImageError> {
        let SentPlace {
            host,
            repository,
            plain_http,
            loopback,
            authorities,
            other_hosts,
            credential,
            registry,
        } = place;
        let authorities = authorities.map(|pem| Authorities::from_pem(pem.as_bytes())).transpose()?;
        let unknown = |error| ImageError::Client { of: registry.clone(), source: Box::new(error) };
        let other_hosts =
            other_hosts.iter().map(|host| host.parse().map_err(unknown)).collect::<Result<_, _>>()?;
        Ok(Self {
            host,
            repository,
            plain_http,
            loopback,
            authorities,
            other_hosts,
            credential: credential.map(|(user, password)| Credential::new(user, password)),
            registry,
        })
    }
}

//! Reading from and writing to a repository, shared by pushing, signing, saving and fetching.

use bytes::Bytes;
use reqwest::{Method, StatusCode};

use crate::registry_connection::{RegistryConnection, RegistryRequest, RegistryUse};
use crate::{Descriptor, Digest, ImageReference, RegistryAccess, RegistryError, media};

/// Told how much of a transfer is done: bytes so far, bytes in all.
pub type TransferProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The largest manifest that is read, in bytes.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest blob that is read, in bytes.
const BLOB_LIMIT: u64 = 96 << 20;

/// One repository, reached with one credential.
pub(crate) struct Registry {
    client: RegistryConnection,
    image: ImageReference,
}

impl Registry {
    /// Makes the client; connects to nothing yet.
    pub(crate) fn new(
        image: &ImageReference,
        access: RegistryAccess,
        use_of: RegistryUse,
    ) -> Result<Self, RegistryError> {
        Ok(Self { client: RegistryConnection::new(image, access, use_of)?, image: image.clone() })
    }

    pub(crate) fn image(&self) -> &ImageReference {
        &self.image
    }

    /// A manifest's bytes and the digest computed from them.
    pub(crate) async fn manifest(&self, target: &str) -> Result<(Vec<u8>, Digest), RegistryError> {
        let what = format!("{}:{target}", self.image.name());
        let accept = media::MANIFESTS.join(", ");
        let request = RegistryRequest {
            method: Method::GET,
            url: self.client.url(&format!("manifests/{target}"), &what)?,
            accept: Some(&accept),
            content: None,
            what: &what,
        };
        let mut response = self.client.good(&request).await?;
        let bytes = self.client.body(&mut response, MANIFEST_LIMIT).await?;
        let digest = Digest::of(&bytes);
        if target.parse::<Digest>().is_ok_and(|expected| expected != digest) {
            return Err(self.client.refused(&what, format!("its content has the digest {digest}")));
        }
        Ok((bytes, digest))
    }

    /// The list of what refers to a digest; none if the registry has no such list. Registries say that in many ways.
    pub(crate) async fn referrers(&self, digest: Digest) -> Option<Vec<u8>> {
        let what = format!("the referrers of {}@{digest}", self.image.name());
        let request = RegistryRequest {
            method: Method::GET,
            url: self.client.url(&format!("referrers/{digest}"), &what).ok()?,
            accept: Some(media::OCI_INDEX),
            content: None,
            what: &what,
        };
        let mut response = self.client.good(&request).await.ok()?;
        self.client.body(&mut response, MANIFEST_LIMIT).await.ok()
    }

    /// A blob's bytes, checked by size and digest.
    pub(crate) async fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let what = format!("{}@{}", self.image.name(), blob.digest);
        if blob.size > BLOB_LIMIT {
            let why = format!("it has {} bytes; at most {BLOB_LIMIT} are read", blob.size);
            return Err(self.client.refused(&what, why));
        }
        // Without `urls`: content comes from the registry that was named.
        let request = RegistryRequest {
            method: Method::GET,
            url: self.client.url(&format!("blobs/{}", blob.digest), &what)?,
            accept: None,
            content: None,
            what: &what,
        };
        let mut response = self.client.good(&request).await?;
        let bytes = self.client.body(&mut response, blob.size).await?;
        if bytes.len() as u64 != blob.size || Digest::of(&bytes) != blob.digest {
            return Err(self.client.refused(&what, "its content is not what its digest says".to_owned()));
        }
        Ok(bytes)
    }

    pub(crate) async fn push_manifest(
        &self,
        target: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        let what = format!("{}:{target}", self.image.name());
        let request = RegistryRequest {
            method: Method::PUT,
            url: self.client.url(&format!("manifests/{target}"), &what)?,
            accept: None,
            content: Some((media_type, bytes.into())),
            what: &what,
        };
        // Whether a `Location` comes with it is the registry's affair: the digest is known.
        self.client.good(&request).await.map(drop)
    }

    pub(crate) async fn push_blob(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let what = format!("{}@{digest}", self.image.name());
        let request = |method, url| RegistryRequest { method, url, accept: None, content: None, what: &what };
        let exists = request(Method::HEAD, self.client.url(&format!("blobs/{digest}"), &what)?);
        // A registry that does not say whether it has the blob is asked to take it.
        if self.client.send(&exists).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let begin = request(Method::POST, self.client.url("blobs/uploads/", &what)?);
        let begun = self.client.good(&begin).await?;
        if begun.status() == StatusCode::CREATED {
            return Ok(());
        }
        let mut url = self.client.upload_url(&begun, &what)?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let content = Some(("application/octet-stream", Bytes::from(bytes)));
        let upload = RegistryRequest { content, ..request(Method::PUT, url) };
        self.client.good(&upload).await.map(drop)
    }
}

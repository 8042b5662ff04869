use std::time::Duration;

use bytes::Bytes;
use futures::{TryStreamExt as _, future, stream};
use oci_client::Client;
use oci_client::errors::OciDistributionError;
use reqwest::Method;

use crate::oci_failure::OciFailure;
use crate::oci_transfer::OciTransfer;
use crate::referrer_pages::ReferrerPages;
use crate::registry_connection::{ANSWER, RegistryConnection, RegistryRequest, RegistryUse};
use crate::{RegistryAccess, RegistryError};
use bpfman_image_format::{Descriptor, Digest, ImageReference, media};

const MANIFEST_LIMIT: u64 = 4 << 20;
const BLOB_LIMIT: u64 = 96 << 20;
const MIN_UPLOAD: u64 = 16 << 10;

pub(crate) struct Registry {
    connection: RegistryConnection,
    transfer: OciTransfer,
    image: ImageReference,
}

impl Registry {
    pub(crate) fn new(
        image: &ImageReference,
        access: RegistryAccess,
        use_of: RegistryUse,
    ) -> Result<Self, RegistryError> {
        let connection = RegistryConnection::new(image, &access, use_of)?;
        Ok(Self { connection, transfer: OciTransfer::new(image, access), image: image.clone() })
    }

    pub(crate) fn image(&self) -> &ImageReference {
        &self.image
    }

    pub(crate) async fn manifest(&self, target: &str) -> Result<(Vec<u8>, Digest), RegistryError> {
        let what = format!("{}:{target}", self.image.name());
        let accept = media::MANIFESTS.join(", ");
        let request = RegistryRequest {
            method: Method::GET,
            url: self.connection.url(&format!("manifests/{target}"), &what)?,
            accept: Some(&accept),
            what: &what,
        };
        let mut response = self.connection.good(&request).await?;
        let bytes = self.connection.body(&mut response, MANIFEST_LIMIT).await?;
        let digest = Digest::of(&bytes);
        if target.parse::<Digest>().is_ok_and(|expected| expected != digest) {
            return Err(self.connection.refused(&what, format!("its content has the digest {digest}")));
        }
        Ok((bytes, digest))
    }

    pub(crate) fn referrers(&self, digest: Digest) -> Result<ReferrerPages<'_>, RegistryError> {
        ReferrerPages::of(&self.connection, &self.image, digest)
    }

    pub(crate) async fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let what = format!("{}@{}", self.image.name(), blob.digest);
        if blob.size > BLOB_LIMIT {
            let why = format!("it has {} bytes; at most {BLOB_LIMIT} are read", blob.size);
            return Err(self.connection.refused(&what, why));
        }
        let (at, digest) = (self.transfer.at("latest"), blob.digest.to_string());
        // Pass the digest without the descriptor's `urls`: content comes from the registry that the user named.
        let begun = self.ask(&what, ANSWER, |client| {
            let (at, digest) = (at.clone(), digest.clone());
            async move { client.pull_blob_stream(&at, digest.as_str()).await }
        });
        let mut stream = begun.await?.map_err(|failure| failure.of_read(&self.connection, &what))?;
        let mut bytes = Vec::new();
        loop {
            let piece = self.in_time(ANSWER, stream.try_next()).await?;
            let piece = piece.map_err(|error| OciFailure::from(error).of_read(&self.connection, &what))?;
            let Some(piece) = piece else { break };
            if bytes.len() as u64 + piece.len() as u64 > blob.size {
                return Err(self
                    .connection
                    .refused(&what, format!("it sends more than {} bytes", blob.size)));
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 != blob.size {
            let why = format!("it sends {} bytes instead of {}", bytes.len(), blob.size);
            return Err(self.connection.refused(&what, why));
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
        let media_type = media_type
            .parse::<reqwest::header::HeaderValue>()
            .map_err(|_| self.connection.refused(&what, format!("`{media_type}` is no media type")))?;
        let (at, digest, bytes) = (self.transfer.at(target), Digest::of(&bytes), Bytes::from(bytes));
        let pushed = self.ask(&what, ANSWER, |client| {
            let (at, bytes, media_type) = (at.clone(), bytes.clone(), media_type.clone());
            async move { client.push_manifest_raw(&at, bytes, media_type).await }
        });
        match pushed.await? {
            // Some registries end an upload with another success status: check the tag.
            Err(failure) if failure.may_be_success() => match self.manifest(target).await {
                Ok((_, found)) if found == digest => Ok(()),
                _ => Err(failure.of_write(&self.connection, &what)),
            },
            Err(failure) => Err(failure.of_write(&self.connection, &what)),
            Ok(_) => Ok(()),
        }
    }

    pub(crate) async fn push_blob(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let what = format!("{}@{digest}", self.image.name());
        let place = format!("blobs/{digest}");
        // If the registry does not report whether it has the blob, upload it.
        if self.has(&place, &what).await.unwrap_or(false) {
            return Ok(());
        }
        let (at, digest) = (self.transfer.at("latest"), digest.to_string());
        let (size, bytes) = (bytes.len() as u64, Bytes::from(bytes));
        let time = 2 * ANSWER + Duration::from_secs(size / MIN_UPLOAD);
        // `push_blob` accepts no empty blob.
        let pushed = self.ask(&what, time, |client| {
            let (at, digest, bytes) = (at.clone(), digest.clone(), bytes.clone());
            let content = stream::once(future::ready(Ok(bytes)));
            async move { client.push_blob_stream(&at, content, &digest, Some(size)).await }
        });
        match pushed.await? {
            Ok(_) => Ok(()),
            // oci-client takes other success statuses, and one without `Location`, for a failure: check the blob.
            Err(failure) if failure.may_be_success() && self.has(&place, &what).await? => Ok(()),
            Err(failure) => Err(failure.of_write(&self.connection, &what)),
        }
    }

    async fn has(&self, place: &str, what: &str) -> Result<bool, RegistryError> {
        let request = RegistryRequest {
            method: Method::HEAD,
            url: self.connection.url(place, what)?,
            accept: None,
            what,
        };
        Ok(self.connection.send(&request).await?.status().is_success())
    }

    /// Repeats a call once if a new credential is requested: a token may expire.
    async fn ask<T, F>(
        &self,
        what: &str,
        time: Duration,
        call: impl Fn(Client) -> F,
    ) -> Result<Result<T, OciFailure>, RegistryError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        let mut asked = false;
        loop {
            let client = self.transfer.client(self.connection.authorization()).await?;
            let result = self.in_time(time, call(client)).await?.map_err(OciFailure::from);
            let is_challenge = matches!(&result, Err(failure) if failure.is_challenge());
            if !is_challenge || asked || !self.connection.renew_authorization(what).await? {
                return Ok(result);
            }
            asked = true;
        }
    }

    async fn in_time<T>(&self, time: Duration, waits: impl Future<Output = T>) -> Result<T, RegistryError> {
        let late = |_| self.connection.unreachable(format!("nothing came in {} s", time.as_secs()));
        tokio::time::timeout(time, waits).await.map_err(late)
    }
}

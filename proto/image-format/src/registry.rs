//! What pushing and signing share: credentials, the client, progress.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use std::fmt;
use std::time::Duration;

use crate::{Descriptor, Digest, ImageReference, causes};

/// User and password for a registry. Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    user: String,
    password: String,
}

/// A text that is not base64 of `user:password`. The text itself is a secret and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry credential is not base64 of `user:password`")]
pub struct CredentialError;

impl Credential {
    /// From user and password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    /// From base64 of `user:password`, the form of `--registry-auth`.
    pub fn from_base64(text: &str) -> Result<Self, CredentialError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| CredentialError)?;
        let text = String::from_utf8(bytes).map_err(|_| CredentialError)?;
        let (user, password) = text.split_once(':').ok_or(CredentialError)?;
        if user.is_empty() {
            return Err(CredentialError);
        }
        Ok(Self::new(user, password))
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Told how much of a transfer is done: bytes so far, bytes in all.
pub type TransferProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not answer, or the connection breaks.
    #[error("the registry {registry} cannot be reached: {why}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// The chain of causes.
        why: String,
    },
    /// It wants other credentials, or these may not do this.
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        why: String,
    },
    /// It does not have it.
    #[error("{0} does not exist in the registry")]
    NotFound(String),
    /// Any other refusal.
    #[error("the registry {registry} failed at {what}: {why}")]
    Refused {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        why: String,
    },
    /// The client cannot be made: no certificate authorities on this machine, for example.
    #[error("no client for registries can be made: {0}. hint: install the package ca-certificates")]
    Client(String),
}

/// A client for one registry and one credential. Credentials are remembered by host, the first one winning, so a
/// client is never shared between two.
pub(crate) struct Registry {
    client: oci_client::Client,
    image: ImageReference,
    auth: RegistryAuth,
}

impl Registry {
    pub(crate) async fn connect(
        image: &ImageReference,
        credential: Option<&Credential>,
    ) -> Result<Self, RegistryError> {
        let protocol = if image.is_loopback() {
            ClientProtocol::HttpsExcept(vec![image.registry().to_owned()])
        } else {
            ClientProtocol::Https
        };
        let config = ClientConfig {
            protocol,
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            user_agent: concat!("bpfman/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // Not `Client::new`, which falls back to defaults, forgetting protocol and roots, when this fails.
        let client =
            oci_client::Client::try_from(config).map_err(|error| RegistryError::Client(causes(&error)))?;
        let auth = match credential {
            Some(credential) => RegistryAuth::Basic(credential.user.clone(), credential.password.clone()),
            None => RegistryAuth::Anonymous,
        };
        client.store_auth_if_needed(place(image, "").resolve_registry(), &auth).await;
        Ok(Self { client, image: image.clone(), auth })
    }

    pub(crate) fn image(&self) -> &ImageReference {
        &self.image
    }

    /// The client's form of this repository at a tag or digest.
    pub(crate) fn at(&self, target: &str) -> oci_client::Reference {
        place(&self.image, target)
    }

    /// A manifest's bytes and the digest computed from them.
    pub(crate) async fn manifest(&self, target: &str) -> Result<(Vec<u8>, Digest), RegistryError> {
        let what = format!("{}:{target}", self.image.name());
        let (bytes, _) = self
            .client
            .pull_manifest_raw(&self.at(target), &self.auth, &crate::media::MANIFESTS)
            .await
            .map_err(|error| self.failed(what, &error))?;
        let digest = Digest::of(&bytes);
        Ok((bytes.to_vec(), digest))
    }

    /// A blob's bytes, checked by size and digest.
    pub(crate) async fn blob(&self, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let what = format!("{}@{}", self.image.name(), blob.digest);
        let refused = |why: String| RegistryError::Refused {
            registry: self.image.registry().to_owned(),
            what: what.clone(),
            why,
        };
        if blob.size > BLOB_LIMIT {
            return Err(refused(format!("it has {} bytes; at most {BLOB_LIMIT} are read", blob.size)));
        }
        let mut bytes = Capped { bytes: Vec::new(), limit: blob.size };
        // Without `urls`: content comes from the registry that was named.
        let descriptor = oci_client::manifest::OciDescriptor {
            digest: blob.digest.to_string(),
            media_type: blob.media_type.clone(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            ..Default::default()
        };
        self.client
            .pull_blob(&self.at("latest"), &descriptor, &mut bytes)
            .await
            .map_err(|error| self.failed(what.clone(), &error))?;
        let bytes = bytes.bytes;
        if bytes.len() as u64 != blob.size || Digest::of(&bytes) != blob.digest {
            return Err(refused("its content is not what its digest says".to_owned()));
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
        let kind = oci_client_header(media_type).ok_or_else(|| RegistryError::Refused {
            registry: self.image.registry().to_owned(),
            what: what.clone(),
            why: format!("`{media_type}` is not a media type"),
        })?;
        self.client
            .push_manifest_raw(&self.at(target), bytes, kind)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(what, &error))
    }

    pub(crate) async fn push_blob(&self, digest: Digest, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let what = format!("{}@{digest}", self.image.name());
        let digest = digest.to_string();
        let repository = self.at("latest");
        // A registry that cannot say whether it has the blob is asked to take it.
        if self.client.blob_exists(&repository, &digest).await.unwrap_or(false) {
            return Ok(());
        }
        self.client
            .push_blob(&repository, bytes, &digest)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(what, &error))
    }

    pub(crate) fn failed(&self, what: String, error: &OciDistributionError) -> RegistryError {
        use oci_client::errors::OciErrorCode as Code;
        let registry = self.image.registry().to_owned();
        let why = causes(error);
        match error {
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => {
                RegistryError::Unreachable { registry, why }
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. } => {
                RegistryError::Unauthorized { registry, what, why }
            }
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => RegistryError::NotFound(what),
            OciDistributionError::RegistryError { envelope, .. } => {
                let says = |codes: &[Code]| envelope.errors.iter().any(|error| codes.contains(&error.code));
                if says(&[Code::ManifestUnknown, Code::NameUnknown, Code::NotFound, Code::BlobUnknown]) {
                    RegistryError::NotFound(what)
                } else if says(&[Code::Unauthorized, Code::Denied]) {
                    RegistryError::Unauthorized { registry, what, why }
                } else {
                    RegistryError::Refused { registry, what, why }
                }
            }
            _ => RegistryError::Refused { registry, what, why },
        }
    }
}

/// The largest blob that is read, in bytes.
const BLOB_LIMIT: u64 = 96 << 20;

/// Takes so many bytes and no more: oci-client writes whatever comes before it compares anything.
struct Capped {
    bytes: Vec<u8>,
    limit: u64,
}

impl tokio::io::AsyncWrite for Capped {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        piece: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::task::Poll::Ready(if (self.bytes.len() + piece.len()) as u64 > self.limit {
            Err(std::io::Error::other("more bytes come than the manifest says"))
        } else {
            self.bytes.extend_from_slice(piece);
            Ok(piece.len())
        })
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

fn oci_client_header<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// The client's form of a repository at a tag or digest.
///
/// A digest goes in as a tag: the URL is the same, and a registry that sends no `Location` header makes
/// oci-client 0.18 panic on references that have a digest and no tag.
fn place(image: &ImageReference, target: &str) -> oci_client::Reference {
    oci_client::Reference::with_tag(
        image.registry().to_owned(),
        image.repository().to_owned(),
        target.to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_hidden() {
        let credential = Credential::from_base64("dXNlcjpwYXNzOndvcmQ=\n").unwrap();
        assert_eq!((credential.user(), credential.password()), ("user", "pass:word"));
        assert!(!format!("{credential:?}").contains("pass"));
        for text in ["", "!", "dXNlcg==", "OnBhc3M="] {
            assert_eq!(Credential::from_base64(text), Err(CredentialError), "{text}");
        }
    }
}

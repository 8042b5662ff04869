//! The client of the crate `oci-client` for one repository: it moves blobs in both directions, and manifests to the registry.
//!
//! The rest of what oci-client 0.18 can do reads answers to their end, however long they are, and stays with
//! [`RegistryConnection`](crate::registry_connection::RegistryConnection): manifests (`_pull_manifest_raw`: `res.bytes()`),
//! referrers (`pull_referrers`: the same, and the first page only) and tokens (`_auth`: `auth_res.text()`). So its client is
//! given a credential, and never asks for one itself.

use std::sync::{Mutex, PoisonError};

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::RegistryTokenType;
use oci_client::{Client, Reference, RegistryOperation};

use crate::authorization::Authorization;
use crate::registry_connection::{CONNECT, USER_AGENT};
use crate::{ImageReference, RegistryAccess, RegistryError, causes};

/// A client for one repository.
pub(crate) struct OciTransfer {
    image: ImageReference,
    access: RegistryAccess,
    /// The client for the last credential: it keeps the first credential of a registry, so that another needs another client.
    client: Mutex<Option<(Option<Authorization>, Client)>>,
}

impl OciTransfer {
    pub(crate) fn new(image: &ImageReference, access: RegistryAccess) -> Self {
        Self { image: image.clone(), access, client: Mutex::default() }
    }

    /// This repository at a tag or digest.
    ///
    /// A digest goes in as a tag: the address is the same.
    pub(crate) fn at(&self, target: &str) -> Reference {
        let (registry, repository) = (self.image.registry(), self.image.repository());
        Reference::with_tag(registry.to_owned(), repository.to_owned(), target.to_owned())
    }

    /// The client that shows the registry this credential.
    pub(crate) async fn client(&self, authorization: Option<Authorization>) -> Result<Client, RegistryError> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, client)) = known.filter(|(of, _)| *of == authorization) {
            return Ok(client);
        }
        // Not `Client::new`, which falls back to defaults, forgetting protocol and authorities, when this fails.
        let client =
            Client::try_from(self.config()).map_err(|error| RegistryError::Client(causes(&error)))?;
        if let Some(authorization) = &authorization {
            self.show(&client, authorization).await;
        }
        let known = Some((authorization, client.clone()));
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(client)
    }

    fn config(&self) -> ClientConfig {
        let plain = self.access.is_plain(&self.image);
        let authorities = self.access.authorities.iter();
        let authorities = authorities.map(|authorities| Certificate {
            encoding: CertificateEncoding::Pem,
            data: authorities.pem.clone(),
        });
        let mut config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            tls_certs_only: authorities.collect(),
            // Plain HTTP works where there are no authorities. Whoever could forge a certificate there could forge the answer
            // that led to it.
            accept_invalid_certificates: plain && self.access.authorities.is_none(),
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        if self.image.is_loopback() {
            // No proxy stands between this machine and itself. A proxy of its own takes the place of the environment's, and
            // counts for no address of this machine.
            config.http_proxy = Some("http://localhost".to_owned());
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
        }
        config
    }

    /// Gives a client its credential, in the ways in which it asks nobody for a token.
    async fn show(&self, client: &Client, authorization: &Authorization) {
        let repository = self.at("latest");
        let registry = repository.resolve_registry();
        match authorization {
            Authorization::Bearer(token) => {
                client.store_auth_if_needed(registry, &RegistryAuth::Bearer(token.clone())).await;
            }
            Authorization::Basic(credential) => {
                client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await;
                for operation in [RegistryOperation::Pull, RegistryOperation::Push] {
                    let (user, password) = (credential.user().to_owned(), credential.password().to_owned());
                    let basic = RegistryTokenType::Basic(user, password);
                    client.tokens.insert(&repository, operation, basic).await;
                }
            }
        }
    }
}

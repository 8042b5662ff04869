//! Client of the crate `oci-client` for one repository. Version 0.18 reads some answers without a size limit:
//! [`crate::registry_connection`] requests these instead, namely manifests (`_pull_manifest_raw`), referrers
//! (`pull_referrers`) and tokens (`_auth`).

use std::sync::{Mutex, PoisonError};

use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::RegistryTokenType;
use oci_client::{Client, Reference, RegistryOperation};

use crate::authorization::Authorization;
use crate::registry_connection::{CONNECT, USER_AGENT};
use crate::{RegistryAccess, RegistryError};
use bpfman_image_format::{ImageReference, causes};

pub(crate) struct OciTransfer {
    image: ImageReference,
    access: RegistryAccess,
    /// A client keeps its first credential, so another one needs another client.
    client: Mutex<Option<(Option<Authorization>, Client)>>,
}

impl OciTransfer {
    pub(crate) fn new(image: &ImageReference, access: RegistryAccess) -> Self {
        Self { image: image.clone(), access, client: Mutex::default() }
    }

    /// Returns the reference of a tag or a digest; `oci-client` builds the same address for both.
    pub(crate) fn at(&self, target: &str) -> Reference {
        let (registry, repository) = (self.image.registry(), self.image.repository());
        Reference::with_tag(registry.to_owned(), repository.to_owned(), target.to_owned())
    }

    pub(crate) async fn client(&self, authorization: Option<Authorization>) -> Result<Client, RegistryError> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, client)) = known.filter(|(of, _)| *of == authorization) {
            return Ok(client);
        }
        // `Client::new` would fall back to defaults on an error, and lose protocol and authorities.
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
            // Plain HTTP works on machines without authorities. An attacker who could forge a certificate could also
            // forge the plain answer that redirected to it.
            accept_invalid_certificates: plain && self.access.authorities.is_none(),
            use_monolithic_push: true,
            platform_resolver: None,
            connect_timeout: Some(CONNECT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        if self.image.is_loopback() {
            // No proxy is between this machine and itself. This replaces the environment's proxy.
            config.http_proxy = Some("http://localhost".to_owned());
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
        }
        config
    }

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

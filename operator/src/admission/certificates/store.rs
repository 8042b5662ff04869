use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::bundle;
use bpfman_runtime::certificate::Generation;
use bpfman_runtime::manager::Manager;

/// Part of the manifests, so that the controller needs no permission to create secrets.
pub const SECRET: &str = "bpfman-admission-certificates";

const GENERATIONS: &str = "generations.json";

const AUTHORITIES: &str = "ca.crt";

#[derive(Debug, thiserror::Error)]
pub enum CertificateStoreError {
    #[error("there is no Secret {0}/{SECRET}: apply the manifests of admission again")]
    Missing(String),
    #[error("another controller wrote the certificates meanwhile")]
    Raced,
    #[error("Secret {SECRET}: {0}")]
    Server(Box<kube::Error>),
}

pub struct CertificateStore {
    secrets: Api<Secret>,
    namespace: String,
}

impl CertificateStore {
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    pub async fn read(&self) -> Result<(Vec<Generation>, Secret), CertificateStoreError> {
        let found = self
            .secrets
            .get_opt(SECRET)
            .await
            .map_err(|error| CertificateStoreError::Server(Box::new(error)))?;
        let secret = found.ok_or_else(|| CertificateStoreError::Missing(self.namespace.clone()))?;
        let bytes = secret.data.as_ref().and_then(|data| data.get(GENERATIONS));
        let generations = bytes.and_then(|bytes| serde_json::from_slice(&bytes.0).ok()).unwrap_or_default();
        Ok((generations, secret))
    }

    /// Replaces the version that was read; [`CertificateStoreError::Raced`] if there is another one now.
    pub async fn write(
        &self,
        mut secret: Secret,
        generations: &[Generation],
    ) -> Result<(), CertificateStoreError> {
        let json = serde_json::to_vec(generations).unwrap_or_default();
        let authorities = bundle(generations).into_bytes();
        secret.data = Some(BTreeMap::from([
            (GENERATIONS.to_owned(), ByteString(json)),
            (AUTHORITIES.to_owned(), ByteString(authorities)),
        ]));
        match self.secrets.replace(SECRET, &Manager::Controller.post(), &secret).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(CertificateStoreError::Raced),
            Err(error) => Err(CertificateStoreError::Server(Box::new(error))),
        }
    }
}

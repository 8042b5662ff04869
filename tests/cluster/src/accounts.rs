//! Service accounts and their tokens.

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use crate::Cluster;

impl Cluster {
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        self.request_token(namespace, account, None).await
    }

    pub async fn token_of_pod(&self, pod: &Pod) -> String {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let bound = BoundObjectReference {
            api_version: Some(Pod::api_version(&()).into_owned()),
            kind: Some(Pod::kind(&()).into_owned()),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        };
        let account = account.unwrap_or_else(|| "default".to_owned());
        self.request_token(&pod.namespace().unwrap(), &account, Some(bound)).await
    }

    async fn request_token(
        &self,
        namespace: &str,
        account: &str,
        bound_object_ref: Option<BoundObjectReference>,
    ) -> String {
        self.account(namespace, account).await;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await, namespace);
        let spec =
            TokenRequestSpec { bound_object_ref, expiration_seconds: Some(3600), ..Default::default() };
        let request = TokenRequest { spec, ..Default::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token
    }

    pub async fn account(&self, namespace: &str, account: &str) {
        self.apply_one(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": account, "namespace": namespace },
        }))
        .await;
    }

    /// Writes a kubeconfig for programs that log in with a token. They must run inside the cluster's network.
    #[must_use]
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        let mut config = Kubeconfig::read_from(self.kubeconfig()).unwrap();
        let user = serde_json::from_value(json!({ "name": "admin", "user": { "token": token } })).unwrap();
        config.auth_infos = vec![user];
        let file = tempfile::Builder::new().prefix("token-").tempfile_in(self.path("")).unwrap();
        let (_, path) = file.keep().unwrap();
        fs::write(&path, serde_norway::to_string(&config).unwrap()).unwrap();
        path
    }

    pub async fn client_with(&self, token: &str) -> kube::Client {
        self.client_of(&self.kubeconfig_with(token)).await
    }
}

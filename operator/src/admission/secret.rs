//! Pull secrets that are not there.

use std::time::Duration;

use bpfman_application::bytecode::ImagePullSecret;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

/// Longer is not waited: the review has to be over before the API server gives up.
const ANSWER: Duration = Duration::from_secs(2);

/// A warning, if the API server says that there is no such secret. What it does not answer is no reason for one.
pub async fn missing(client: &Client, secret: &ImagePullSecret) -> Option<String> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace);
    let found = tokio::time::timeout(ANSWER, secrets.get_metadata_opt(&secret.name)).await;
    matches!(found, Ok(Ok(None))).then(|| {
        format!(
            "spec.byteCode.image.imagePullSecret: there is no Secret {}/{}: nodes cannot load the image until there is",
            secret.namespace, secret.name
        )
    })
}

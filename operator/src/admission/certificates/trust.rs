//! The configuration of the webhook: whom the API server trusts, and what becomes of requests that nobody reviews.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client};
use tracing::info;

use super::super::flags::FailurePolicy;
use bpfman_runtime::manager::Manager;

/// Its name. It is part of the manifests, so that the API server fails closed before the first controller runs.
pub const CONFIGURATION: &str = "bpfman-admission";

/// How its webhooks begin: the one for state objects, and the one for applications.
const STATES: &str = "states.";
const APPLICATIONS: &str = "applications.";

/// Why the API server does not trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is part of the manifests.
    #[error(
        "there is no ValidatingWebhookConfiguration {CONFIGURATION}, so nothing is reviewed: apply the manifests of \
         admission again"
    )]
    Missing,
    /// The API server said no, or nothing.
    #[error("ValidatingWebhookConfiguration {CONFIGURATION}: {0}")]
    Server(Box<kube::Error>),
}

/// Has the configuration trust a bundle, and nothing else. The bundle that it trusts now is returned.
///
/// # Errors
/// It is not there, or cannot be written; somebody else may have written it meanwhile.
pub async fn trust(
    client: &Client,
    bundle: &str,
    policy: Option<FailurePolicy>,
) -> Result<String, TrustError> {
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let server = |error| TrustError::Server(Box::new(error));
    let found = configurations.get_opt(CONFIGURATION).await.map_err(server)?.ok_or(TrustError::Missing)?;
    let mut wanted = found.clone();
    for webhook in wanted.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
        if webhook.name.starts_with(STATES) {
            // Without a review an agent could answer for any node.
            webhook.failure_policy = Some("Fail".to_owned());
        } else if webhook.name.starts_with(APPLICATIONS)
            && let Some(policy) = policy
        {
            webhook.failure_policy = Some(policy.word().to_owned());
        }
    }
    if wanted != found {
        configurations.replace(CONFIGURATION, &Manager::Controller.post(), &wanted).await.map_err(server)?;
        info!("the API server was told whom to trust for admission");
    }
    Ok(bundle.to_owned())
}

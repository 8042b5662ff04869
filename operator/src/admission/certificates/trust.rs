use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::{Api, Client};
use tracing::info;

use super::super::flags::FailurePolicy;
use bpfman_runtime::manager::Manager;

/// Name of the configuration, part of the manifests: the API server fails closed before a controller runs.
pub const CONFIGURATION: &str = "bpfman-admission";

const STATES: &str = "states.";
const APPLICATIONS: &str = "applications.";

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "there is no ValidatingWebhookConfiguration {CONFIGURATION}, so nothing is reviewed: apply the manifests of \
         admission again"
    )]
    Missing,
    #[error("ValidatingWebhookConfiguration {CONFIGURATION}: {0}")]
    Server(Box<kube::Error>),
}

/// Makes the configuration trust exactly this bundle, and returns it; fails after a concurrent change.
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
            // Without a review, an agent could write the state of any node.
            webhook.failure_policy = Some("Fail".to_owned());
        } else if webhook.name.starts_with(APPLICATIONS)
            && let Some(policy) = policy
        {
            webhook.failure_policy = Some(policy.word().to_owned());
        }
    }
    if wanted != found {
        configurations.replace(CONFIGURATION, &Manager::Controller.post(), &wanted).await.map_err(server)?;
        info!("the API server was configured whom to trust for admission");
    }
    Ok(bundle.to_owned())
}

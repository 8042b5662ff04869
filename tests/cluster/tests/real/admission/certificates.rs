//! Certificates change without anyone noticing.

use std::collections::BTreeSet;
use std::time::Instant;

use bpfman_cluster_tests::{Cluster, wait};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::{NAMESPACE, application, configure, controller, rights, try_create, until_reviewed};

/// Generations that are in the Secret.
async fn generations(cluster: &Cluster) -> BTreeSet<u64> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await, NAMESPACE);
    let data = secrets.get("bpfman-admission-certificates").await.unwrap().data.unwrap_or_default();
    let Some(json) = data.get("generations.json") else { return BTreeSet::new() };
    let all: Vec<serde_json::Value> = serde_json::from_slice(&json.0).unwrap();
    all.iter().map(|one| one["created"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn no_review_fails_while_certificates_are_replaced() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    rights(&cluster).await;
    configure(&cluster).await;
    // Eighteen seconds: a new one after twelve, two for the API server to hear of it.
    let flags = ["--admission-certificate-seconds=18", "--admission-failure-policy=closed"];
    let mut controller = controller(&cluster, &flags).await;
    let good = application("good", |_| {});
    until_reviewed(&cluster).await;

    let first = generations(&cluster).await;
    let (mut reviews, end) = (0, Instant::now() + wait::DEADLINE);
    // Until what was there at first is gone: by then another one is served.
    while !generations(&cluster).await.is_disjoint(&first) {
        assert!(Instant::now() < end, "the first certificate is never replaced");
        // The API server keeps connections: those to the old certificate have to go on, and new ones to begin.
        for _ in 0..5 {
            try_create(&cluster, &good).await.unwrap_or_else(|error| panic!("review {reviews}: {error}"));
            reviews += 1;
        }
    }
    try_create(&cluster, &good).await.unwrap();
    assert!(reviews > 20, "{reviews}");
    // What the manifest said of applications gave way to the flag; state objects always fail closed.
    let all: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client().await);
    let webhooks = all.get("bpfman-admission").await.unwrap().webhooks.unwrap();
    assert!(webhooks.iter().all(|webhook| webhook.failure_policy.as_deref() == Some("Fail")));
    assert!(controller.ended().is_none());
}

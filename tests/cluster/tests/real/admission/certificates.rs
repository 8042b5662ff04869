//! Replacement of admission certificates without failed reviews.

use std::collections::BTreeSet;
use std::time::Instant;

use bpfman_cluster_tests::{Cluster, wait};
use bpfman_tests::faketime::Clock;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{
    NAMESPACE, application, configure, controller, controller_with, rights, try_create, until_reviewed,
};

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
    // A certificate of 18 s is replaced after 12 s, and the API server has 2 s to learn of the new authority.
    let flags = ["--admission-certificate-seconds=18", "--admission-failure-policy=closed"];
    let mut controller = controller(&cluster, &flags).await;
    let good = application("good", |_| {});
    until_reviewed(&cluster).await;

    let first = generations(&cluster).await;
    let (mut reviews, end) = (0, Instant::now() + wait::DEADLINE);
    // Wait until the first certificates are removed: by then another one is served.
    while !generations(&cluster).await.is_disjoint(&first) {
        assert!(Instant::now() < end, "the first certificate is never replaced");
        // Reused connections with the old certificate must keep working, and new ones must succeed.
        for _ in 0..5 {
            try_create(&cluster, &good).await.unwrap_or_else(|error| panic!("review {reviews}: {error}"));
            reviews += 1;
        }
    }
    try_create(&cluster, &good).await.unwrap();
    assert!(reviews > 20, "{reviews}");
    // The flag overrides the manifest's failure policy of applications; state objects always fail closed.
    let all: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client().await);
    let webhooks = all.get("bpfman-admission").await.unwrap().webhooks.unwrap();
    assert!(webhooks.iter().all(|webhook| webhook.failure_policy.as_deref() == Some("Fail")));
    assert!(controller.ended().is_none());
}

#[tokio::test]
async fn certificates_follow_the_clock_of_the_api_server() {
    let test = "certificates_follow_the_clock_of_the_api_server";
    let Some(clock) = Clock::wrong_by("+2d", test) else { return };
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    rights(&cluster).await;
    configure(&cluster).await;
    let closed = ["--admission-failure-policy=closed"];
    let wrong = controller_with(&cluster, "--metrics-bind-address=0", &closed, &clock.environment()).await;
    until_reviewed(&cluster).await;
    drop(wrong);

    // A certificate from a controller with a wrong clock is replaced: the API server would reject it for two days,
    // and with it all writes of agents.
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await, NAMESPACE);
    let data = secrets.get("bpfman-admission-certificates").await.unwrap().data.unwrap();
    let mut all: Vec<serde_json::Value> = serde_json::from_slice(&data["generations.json"].0).unwrap();
    for field in ["created", "notAfter"] {
        all[0][field] = json!(all[0][field].as_u64().unwrap() + 2 * 86_400);
    }
    let data = k8s_openapi::ByteString(serde_json::to_vec(&all).unwrap());
    let patch = Patch::Merge(json!({ "data": { "generations.json": data } }));
    secrets.patch("bpfman-admission-certificates", &PatchParams::default(), &patch).await.unwrap();
    let left = generations(&cluster).await;
    let _right = controller(&cluster, &closed).await;
    wait::until("another one is made", async || generations(&cluster).await.is_disjoint(&left)).await;
    until_reviewed(&cluster).await;
}

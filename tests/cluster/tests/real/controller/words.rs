//! Commands for a rollout that does not exist.

use bpfman_cluster_tests::wait;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{SUMS, answer, application, applications, cluster, controller, is, status};

#[tokio::test]
async fn a_word_without_a_rollout_is_not_kept_for_the_next_one() {
    let Some(cluster) = cluster().await else { return };
    cluster.node("n1", &[]).await;
    let uid = application(&cluster, "guard", json!({})).await;
    answer(&cluster, ("guard", &uid), "n1", json!({})).await;
    let _controller = controller(&cluster, &SUMS);
    status(&cluster, "guard", "it is healthy", |status| is(status, "Success")).await;
    let applications = applications(&cluster).await;
    // A new command, and one already executed: the status that records it is removed with the rollout.
    let words =
        json!({ "bpfman.io/rollout": "abort", "bpfman.io/rollout-command": "3 abort", "mine": "kept" });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": words } }));
    applications.patch("guard", &PatchParams::default(), &patch).await.unwrap();
    wait::until("both are gone", async || {
        let application = applications.get("guard").await.unwrap();
        application.annotations().keys().collect::<Vec<_>>() == ["mine"]
    })
    .await;
}

//! Deletion of applications and of nodes.

use bpfman_cluster_tests::wait;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{SUMS, answer, application, applications, cluster, controller, is, states, status};

#[tokio::test]
async fn application_is_deleted_after_all_nodes_and_names_the_others() {
    let Some(cluster) = cluster().await else { return };
    for name in ["n1", "dead"] {
        cluster.node(name, &[]).await;
    }
    let uid = application(&cluster, "guard", json!({})).await;
    for name in ["n1", "dead"] {
        answer(&cluster, ("guard", &uid), name, json!({})).await;
    }
    let _controller = controller(&cluster, &SUMS);
    status(&cluster, "guard", "it is healthy", |status| is(status, "Success")).await;
    let applications = applications(&cluster).await;
    let finalizers = applications.get("guard").await.unwrap().metadata.finalizers.unwrap();
    assert_eq!(finalizers, ["bpfman.io.operator/finalizer"]);

    applications.delete("guard", &DeleteParams::background()).await.unwrap();
    let held = status(&cluster, "guard", "both hold it", |status| is(status, "DeleteError")).await;
    assert!(held.conditions[0].message.contains("guard-dead, guard-n1"), "{held:?}");

    let nodes: Api<Node> = Api::all(cluster.client().await);
    nodes.delete("dead", &DeleteParams::default()).await.unwrap();
    let states = states(&cluster).await;
    wait::until("what the dead node answered is gone", async || {
        states.get_opt("guard-dead").await.unwrap().is_none()
    })
    .await;
    let held = status(&cluster, "guard", "one holds it", |status| {
        is(status, "DeleteError") && status.conditions[0].message.contains("on 1 nodes: guard-n1")
    })
    .await;
    assert!(states.get_opt("guard-n1").await.unwrap().is_some(), "{held:?}");

    // Simulates the other agent, which has unloaded the programs.
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    states.patch("guard-n1", &PatchParams::default(), &release).await.unwrap();
    wait::until("the application is gone", async || applications.get_opt("guard").await.unwrap().is_none())
        .await;
}

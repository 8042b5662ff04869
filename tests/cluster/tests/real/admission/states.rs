//! Agents may write the state objects of their own node only.

use bpfman_cluster_tests::{Cluster, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{NAMESPACE, application, refusal, reviewed};

async fn agent(cluster: &Cluster, node: &str) -> kube::Client {
    let pod = cluster
        .apply_one(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("bpfman-agent-{node}"), "namespace": NAMESPACE },
            "spec": {
                "nodeName": node, "serviceAccountName": "bpfman-agent",
                "containers": [{ "name": "bpfman-agent", "image": "none" }],
            },
        }))
        .await;
    let pod: Pod = serde_json::from_value(serde_json::to_value(&pod).unwrap()).unwrap();
    cluster.client_with(&cluster.token_of_pod(&pod).await).await
}

struct States {
    like: Value,
}

impl States {
    async fn api(&self, client: &kube::Client, cluster: &Cluster) -> Api<DynamicObject> {
        let (resource, _) = kube::discovery::pinned_kind(
            &cluster.client().await,
            &kube::core::GroupVersionKind::gvk("bpfman.io", "v1alpha1", "ClusterBpfApplicationState"),
        )
        .await
        .unwrap();
        Api::all_with(client.clone(), &resource)
    }

    fn of(&self, node: &str, name: &str) -> DynamicObject {
        let mut object = self.like.clone();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["labels"]["kubernetes.io/hostname"] = json!(node);
        serde_json::from_value(object).unwrap()
    }
}

fn status(node: &str) -> Patch<Value> {
    Patch::Merge(json!({ "status": { "node": node, "updateCount": 1, "appLoadStatus": "NotLoaded" } }))
}

fn annotate(key: &str) -> Patch<Value> {
    Patch::Merge(json!({ "metadata": { "annotations": { key: "app-2" } } }))
}

#[tokio::test]
async fn an_agent_cannot_touch_what_another_node_answers() {
    let Some((cluster, mut controller)) = reviewed().await else { return };
    for node in ["one", "two"] {
        cluster.node(node, &[]).await;
    }
    let app = cluster.apply_one(application("app", |_| {})).await;
    let uid = app.metadata.uid;
    let like = json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
        "metadata": {
            "labels": { "bpfman.io/ownedByProgram": "app" },
            "ownerReferences": [{
                "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": "app", "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
    });
    let states = States { like };
    let (one, two) = (agent(&cluster, "one").await, agent(&cluster, "two").await);
    let (one, two) = (states.api(&one, &cluster).await, states.api(&two, &cluster).await);
    let (new, params) = (PostParams::default(), PatchParams::default());

    // Only its computed name is accepted, so that an agent cannot occupy another node's object.
    let message = refusal(one.create(&new, &states.of("one", "app-00000000")).await);
    let (_, name) =
        message.split_once("what node one answers for app is named ").unwrap_or_else(|| panic!("{message}"));
    one.create(&new, &states.of("one", name)).await.unwrap();
    one.patch_status(name, &params, &status("one")).await.unwrap();

    // Writes for another node are rejected, by any verb, label or field.
    let foreign = "the agent of node two writes only what that node answers";
    let relabel = Patch::Merge(json!({ "metadata": { "labels": { "kubernetes.io/hostname": "two" } } }));
    for (answer, says) in [
        (two.create(&new, &states.of("one", "app-11111111")).await.map(drop), foreign),
        (two.patch_status(name, &params, &status("one")).await.map(drop), foreign),
        (two.patch_status(name, &params, &status("two")).await.map(drop), foreign),
        (two.patch(name, &params, &relabel).await.map(drop), foreign),
        (two.delete(name, &DeleteParams::default()).await.map(drop), foreign),
        (one.patch(name, &params, &relabel).await.map(drop), "has the label kubernetes.io/hostname=two"),
        (one.patch_status(name, &params, &status("two")).await.map(drop), "cannot answer for \"two\""),
        (
            one.patch(name, &params, &annotate("bpfman.io/revision")).await.map(drop),
            "order of the controller",
        ),
    ] {
        let message = refusal(answer);
        assert!(message.contains(says) && message.contains("states.bpfman.io"), "expected {says}: {message}");
    }

    // A token that is not bound to a pod belongs to no node.
    let unbound = cluster.client_with(&cluster.token(NAMESPACE, "bpfman-agent").await).await;
    let unbound = states.api(&unbound, &cluster).await;
    let message = refusal(unbound.patch_status(name, &params, &status("one")).await);
    assert!(message.contains("is not bound to a pod"), "{message}");

    // Only the controller writes orders; an administrator may do everything.
    let token = cluster.token(NAMESPACE, "bpfman-operator").await;
    let orders = states.api(&cluster.client_with(&token).await, &cluster).await;
    orders.patch(name, &params, &annotate("bpfman.io/revision")).await.unwrap();
    let admin = states.api(&cluster.client().await, &cluster).await;
    admin.patch_status(name, &params, &status("one")).await.unwrap();
    admin.patch(name, &params, &annotate("bpfman.io/soak")).await.unwrap();

    controller.kill();
    let message = refusal(one.patch_status(name, &params, &status("one")).await);
    assert!(message.contains("failed calling webhook"), "{message}");
    let mut again = super::controller(&cluster, &[]).await;
    wait::until("its own node's is written again", async || {
        one.patch_status(name, &params, &status("one")).await.is_ok()
    })
    .await;
    one.delete(name, &DeleteParams::default()).await.unwrap();
    assert!(again.ended().is_none());
}

//! Taint of nodes until their programs are back.

use bpfman_application::orders::NOT_READY_TAINT;
use bpfman_cluster_tests::{Cluster, Operator, wait};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{answer, application, cluster, condition, states};

const IMAGES: [(&str, &str); 2] = [("BPFMAN_IMG", "daemon:1"), ("BPFMAN_AGENT_IMG", "agent:1")];

#[tokio::test]
async fn node_repels_pods_from_boot_until_its_programs_are_back() {
    let Some(cluster) = cluster().await else { return };
    cluster
        .apply_one(json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "Config", "metadata": { "name": "bpfman-config" },
            "spec": {
                "namespace": "bpfman", "configuration": "[signing]\n", "nodeTaint": true,
                "agent": { "image": "agent:1" }, "daemon": { "image": "daemon:1" }
            }
        }))
        .await;
    cluster.node("edge", &[("kubernetes.io/os", "linux")]).await;
    cluster.node("other", &[("kubernetes.io/os", "windows")]).await;
    cluster.node_runs("edge", "6.1.0", "B1").await;
    cluster.node_runs("other", "6.1.0", "B1").await;
    let flags = ["--health-probe-bind-address=0", "--metrics-bind-address=0"];
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags, &IMAGES);
    wait::until("the new node is tainted", async || tainted(&cluster, "edge").await).await;

    let labels = [("app.kubernetes.io/name", "bpfman-agent")];
    cluster.pod("bpfman", "agent-edge", "edge", &labels, &[("agent", "containerd://1")]).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, "bpfman");
    let ready = Patch::Merge(json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    pods.patch_status("agent-edge", &PatchParams::default(), &ready).await.unwrap();
    wait::until("the node lets pods in", async || !tainted(&cluster, "edge").await).await;

    // A later application does not taint the node again; a reboot does, until the application is back.
    let uid = application(&cluster, "guard", json!({})).await;
    let said = json!({ "bootId": "b1" });
    answer(&cluster, ("guard", &uid), "edge", said).await;
    cluster.node_runs("edge", "6.1.0", "B2").await;
    wait::until("the rebooted node is tainted", async || tainted(&cluster, "edge").await).await;
    let pending = json!({ "bootId": "b2", "conditions": [condition("Pending")] });
    answer(&cluster, ("guard", &uid), "edge", pending).await;
    assert!(tainted(&cluster, "edge").await);
    answer(&cluster, ("guard", &uid), "edge", json!({ "bootId": "b2" })).await;
    wait::until("its programs are back", async || !tainted(&cluster, "edge").await).await;
    assert!(!tainted(&cluster, "other").await, "the daemon never runs there");

    // Annotations on nodes are removed first: the controller may be removed right after the Config.
    let nodes: Api<Node> = Api::all(cluster.client().await);
    let noted = nodes.get("edge").await.unwrap().metadata.annotations.unwrap();
    assert!(noted.contains_key("bpfman.io/ready-boot"), "{noted:?}");
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    states(&cluster).await.patch("guard-edge", &PatchParams::default(), &release).await.unwrap();
    cluster.kubectl(&["delete", "clusterbpfapplications", "--all", "--timeout=60s"]).success();
    cluster.kubectl(&["delete", "configs.bpfman.io", "bpfman-config", "--timeout=60s"]).success();
    let left = nodes.get("edge").await.unwrap().metadata.annotations.unwrap_or_default();
    assert!(!left.keys().any(|key| key.contains("bpfman")), "{left:?}");
    assert!(!tainted(&cluster, "edge").await);
}

async fn tainted(cluster: &Cluster, node: &str) -> bool {
    let nodes: Api<Node> = Api::all(cluster.client().await);
    let taints = nodes.get(node).await.unwrap().spec.unwrap_or_default().taints.unwrap_or_default();
    taints.iter().any(|taint| taint.key == NOT_READY_TAINT)
}

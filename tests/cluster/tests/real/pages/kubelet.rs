//! Simulated kubelet: keeps nodes and pods ready, and removes deleted pods.

use std::time::Duration;

use bpfman_cluster_tests::Cluster;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinHandle;

pub struct Kubelet(JoinHandle<()>);

impl Kubelet {
    pub async fn start(cluster: &Cluster, address: &'static str) -> Self {
        let client = cluster.client().await;
        Self(tokio::spawn(async move {
            loop {
                // The server may be busy, or an object may have been deleted: the next round repeats it.
                let _said = round(&client, address).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn round(client: &Client, address: &str) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    for node in nodes.list(&ListParams::default()).await?.items {
        let room = json!({ "cpu": "8", "memory": "16Gi", "pods": "110" });
        let ready = json!({
            "type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now,
        });
        let status = json!({ "status": { "capacity": room, "allocatable": room, "conditions": [ready] } });
        nodes.patch_status(&node.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await?;
    }
    let pods: Api<Pod> = Api::all(client.clone());
    for pod in pods.list(&ListParams::default()).await?.items {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            say(client, &pod, address).await?;
        }
    }
    Ok(())
}

async fn say(client: &Client, pod: &Pod, address: &str) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
    if pod.metadata.deletion_timestamp.is_some() {
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
        return Ok(());
    }
    if pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")) {
        return Ok(());
    }
    let condition = |name: &str| json!({ "type": name, "status": "True" });
    let conditions = ["Initialized", "ContainersReady", "Ready"].map(condition);
    let status = json!({ "status": {
        "phase": "Running", "conditions": conditions, "podIP": address, "podIPs": [{ "ip": address }],
    } });
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(status)).await?;
    Ok(())
}

//! Nodes, and the pods of ours on them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use super::connect::ClientSession;
use super::error::ClientError;

/// Pods of agent and daemon.
const OURS: &str = "app.kubernetes.io/name in (bpfman-agent,bpfman-daemon)";

impl ClientSession {
    /// Nodes with the kernel that they run.
    pub async fn kernels(&self) -> Result<BTreeMap<String, String>, ClientError> {
        let nodes = Api::<Node>::all(self.client.clone())
            .list(&ListParams::default())
            .await
            .map_err(|error| ClientError::of(error, "list nodes", "Node"))?;
        let kernel = |node: &Node| Some(node.status.as_ref()?.node_info.as_ref()?.kernel_version.clone());
        Ok(nodes
            .items
            .iter()
            .filter_map(|node| Some((node.metadata.name.clone()?, kernel(node).unwrap_or_default())))
            .collect())
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<Node, ClientError> {
        Api::<Node>::all(self.client.clone())
            .get_opt(name)
            .await
            .map_err(|error| ClientError::of(error, "read the node", "Node"))?
            .ok_or_else(|| ClientError::NoNode(name.to_owned()))
    }

    /// Pods of agent and daemon on a node: namespace and name, and how they are. Who may not see them sees none.
    pub async fn pods_of_ours(&self, node: &str) -> Result<Vec<(String, String)>, ClientError> {
        let params = ListParams::default().labels(OURS).fields(&format!("spec.nodeName={node}"));
        let pods = match Api::<Pod>::all(self.client.clone()).list(&params).await {
            Ok(pods) => pods.items,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                return Ok(vec![("pods".to_owned(), "you may not list them".to_owned())]);
            }
            Err(error) => return Err(ClientError::of(error, "list pods", "Pod")),
        };
        Ok(pods.iter().map(|pod| (name(pod), condition(pod))).collect())
    }
}

fn name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Ready, or why not.
fn condition(pod: &Pod) -> String {
    let Some(status) = &pod.status else { return "nothing known yet".to_owned() };
    let ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    let restarts: i32 = status.container_statuses.iter().flatten().map(|one| one.restart_count).sum();
    let waiting = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|one| one.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .next();
    let how = match (ready, waiting) {
        (true, _) => "ready".to_owned(),
        (false, Some(reason)) => format!("not ready: {reason}"),
        (false, None) => format!("not ready: {}", status.phase.as_deref().unwrap_or("unknown")),
    };
    if restarts > 0 { format!("{how}, {restarts} restarts") } else { how }
}

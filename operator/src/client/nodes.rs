use std::collections::BTreeMap;

use bpfman_application::labels::{self, SelectorError};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::ListParams;

use super::applications::list;
use super::connect::ClientSession;
use super::error::ClientError;

const OURS: &str = "app.kubernetes.io/name in (bpfman-agent,bpfman-daemon)";

pub const HOST_LABEL: &str = "kubernetes.io/hostname";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelGroup {
    pub kernel: String,
    pub architecture: String,
    pub nodes: usize,
    pub node: String,
    pub host: String,
}

fn grouped(nodes: &[Node], selector: &LabelSelector) -> Result<Vec<KernelGroup>, SelectorError> {
    let none = BTreeMap::new();
    let mut groups: BTreeMap<(String, String), (KernelGroup, bool)> = BTreeMap::new();
    for node in nodes {
        let labels = node.metadata.labels.as_ref().unwrap_or(&none);
        let (Some(host), Some(name)) = (labels.get(HOST_LABEL), &node.metadata.name) else { continue };
        if !labels::matches(selector, |key| labels.get(key).map(String::as_str))? {
            continue;
        }
        let status = node.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let (kernel, architecture) =
            info.map(|info| (info.kernel_version.clone(), info.architecture.clone())).unwrap_or_default();
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let is_ready = conditions.clone().any(|one| one.type_ == "Ready" && one.status == "True");
        let entry = groups.entry((kernel.clone(), architecture.clone())).or_insert_with(|| {
            let (node, host) = (name.clone(), host.clone());
            (KernelGroup { kernel, architecture, nodes: 0, node, host }, is_ready)
        });
        entry.0.nodes += 1;
        if is_ready && !entry.1 {
            (entry.0.node, entry.0.host, entry.1) = (name.clone(), host.clone(), true);
        }
    }
    Ok(groups.into_values().map(|(group, _)| group).collect())
}

impl ClientSession {
    pub async fn kernel_groups(&self, selector: &LabelSelector) -> Result<Vec<KernelGroup>, ClientError> {
        let nodes = list(Api::<Node>::all(self.client.clone()), ListParams::default(), "Node").await?;
        grouped(&nodes, selector)
            .map_err(|error| ClientError::Manifest("spec.nodeSelector".to_owned(), error.to_string()))
    }

    pub async fn kernels(&self) -> Result<BTreeMap<String, String>, ClientError> {
        let nodes = list(Api::<Node>::all(self.client.clone()), ListParams::default(), "Node").await?;
        let kernel = |node: &Node| Some(node.status.as_ref()?.node_info.as_ref()?.kernel_version.clone());
        Ok(nodes
            .iter()
            .filter_map(|node| Some((node.metadata.name.clone()?, kernel(node).unwrap_or_default())))
            .collect())
    }

    pub async fn node(&self, name: &str) -> Result<Node, ClientError> {
        Api::<Node>::all(self.client.clone())
            .get_opt(name)
            .await
            .map_err(|error| ClientError::of(error, "read the node", "Node"))?
            .ok_or_else(|| ClientError::NoNode(name.to_owned()))
    }

    pub async fn bpfman_pods(&self, node: &str) -> Result<Vec<(String, String)>, ClientError> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn node(name: &str, kernel: &str, zone: &str, ready: &str) -> Node {
        let info = json!({ "kernelVersion": kernel, "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "",
            "systemUUID": "" });
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "zone": zone, HOST_LABEL: format!("host-{name}") } },
            "status": { "nodeInfo": info, "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn one_ready_node_is_picked_for_each_kernel_of_the_selection() {
        let nodes = [
            node("a", "6.1.0", "one", "Unknown"),
            node("b", "6.1.0", "one", "True"),
            node("c", "6.1.0", "one", "True"),
            node("d", "6.12.0", "one", "False"),
            node("e", "5.10.0", "two", "True"),
        ];
        let selector: LabelSelector =
            serde_json::from_value(json!({ "matchLabels": { "zone": "one" } })).unwrap();
        let groups = grouped(&nodes, &selector).unwrap();
        let told: Vec<_> =
            groups.iter().map(|group| (group.kernel.as_str(), group.nodes, group.host.as_str())).collect();
        assert_eq!(told, [("6.1.0", 3, "host-b"), ("6.12.0", 1, "host-d")]);
    }
}

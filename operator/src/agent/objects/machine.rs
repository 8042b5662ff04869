//! Node and pods with the fields that the agent needs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bpfman_runtime::wire::{WireNode, WirePod};
use kube::api::ApiResource;

/// Stored fields of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub labels: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
}

impl NodeFacts {
    /// Extracts the stored fields. The status changes every few seconds, but equal values require no action.
    #[must_use]
    pub fn read(object: WireNode) -> Self {
        let addresses = object.status.unwrap_or_default().addresses;
        Self {
            labels: object.metadata.labels.unwrap_or_default(),
            addresses: addresses
                .into_iter()
                .filter(|address| address.address_type == "InternalIP")
                .filter_map(|address| address.address.parse().ok())
                .collect(),
        }
    }
}

/// Namespace and name of a pod.
pub type PodKey = (String, String);

/// Stored fields of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPod {
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// True if the pod shares the node's network namespace.
    pub host_network: bool,
    /// Name and id of running containers; empty before the first one starts.
    pub containers: Vec<(String, String)>,
}

impl KnownPod {
    /// Extracts the stored fields. `None` for a pod that has ended.
    #[must_use]
    pub fn read(object: WirePod) -> Option<Self> {
        let status = object.status.unwrap_or_default();
        if status.phase == "Succeeded" || status.phase == "Failed" {
            return None;
        }
        let statuses = status
            .container_statuses
            .into_iter()
            .chain(status.init_container_statuses)
            .chain(status.ephemeral_container_statuses);
        let containers: Vec<_> = statuses
            .filter(|container| container.state.running.is_some() && !container.container_id.is_empty())
            .map(|container| (container.name, container.container_id))
            .collect();
        Some(Self {
            uid: object.metadata.uid.unwrap_or_default(),
            labels: object.metadata.labels.unwrap_or_default(),
            host_network: object.spec.is_some_and(|spec| spec.host_network),
            containers,
        })
    }
}

#[must_use]
pub fn nodes() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&())
}

#[must_use]
pub fn pods() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn pod(phase: &str, containers: serde_json::Value) -> Option<KnownPod> {
        KnownPod::read(
            serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "namespace": "shop", "name": "web", "uid": "u", "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "main" }], "nodeName": "node-a" },
                "status": { "phase": phase, "containerStatuses": containers }
            }))
            .unwrap(),
        )
    }

    #[test]
    fn of_a_pod_the_containers_that_run_are_kept() {
        let pod = pod(
            "Running",
            json!([
                { "name": "main", "containerID": "containerd://1", "state": { "running": { "startedAt": "x" } } },
                { "name": "done", "containerID": "containerd://2", "state": { "terminated": { "exitCode": 0 } } },
                { "name": "soon", "state": { "waiting": {} } }
            ]),
        )
        .unwrap();
        assert_eq!(pod.containers, [("main".to_owned(), "containerd://1".to_owned())]);
        assert_eq!(pod.labels["app"], "web");
        assert!(!pod.host_network);
    }

    #[test]
    fn a_pod_that_has_ended_is_none() {
        let running = json!([{ "name": "main", "containerID": "x://1", "state": { "running": {} } }]);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(pod(phase, running.clone()), None);
        }
        // Before its first container runs, its labels already determine which applications select it.
        assert!(pod("Pending", json!([])).unwrap().containers.is_empty());
        assert_eq!(pod("Pending", running).unwrap().containers.len(), 1);
    }

    #[test]
    fn of_a_node_labels_and_internal_addresses_are_kept() {
        let node = NodeFacts::read(
            serde_json::from_value(json!({
                "metadata": { "name": "node-a", "labels": { "zone": "1" } },
                "spec": { "podCIDR": "10.0.0.0/24" },
                "status": { "addresses": [
                    { "type": "InternalIP", "address": "10.1.2.3" },
                    { "type": "InternalIP", "address": "fd00::3" },
                    { "type": "ExternalIP", "address": "192.0.2.1" },
                    { "type": "Hostname", "address": "node-a" }
                ], "conditions": [] }
            }))
            .unwrap(),
        );
        assert_eq!(node.labels["zone"], "1");
        assert_eq!(node.addresses, ["10.1.2.3".parse::<IpAddr>().unwrap(), "fd00::3".parse().unwrap()]);
    }
}

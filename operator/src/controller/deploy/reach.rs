use bpfman_application::config::ConfigSpec;
use bpfman_application::deployment::NodeToleration;

use crate::controller::projection::ClusterNode;

const OF_DAEMON_SETS: &str = "node.kubernetes.io/";

/// Nodes on which daemon and agent run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonNodes {
    labels: Vec<(String, String)>,
    tolerations: Vec<NodeToleration>,
}

impl Default for DaemonNodes {
    fn default() -> Self {
        Self::of(&ConfigSpec::default())
    }
}

impl DaemonNodes {
    /// Returns the reach of a `Config`.
    #[must_use]
    pub fn of(spec: &ConfigSpec) -> Self {
        let labels = spec.node_labels().into_iter();
        Self {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            tolerations: spec.tolerations(),
        }
    }

    /// Returns whether the daemon is deployed to a node.
    #[must_use]
    pub fn takes(&self, node: &ClusterNode) -> bool {
        let tolerated = |key: &str, value: &str, effect: &str| {
            key.starts_with(OF_DAEMON_SETS)
                || self.tolerations.iter().any(|toleration| toleration.tolerates(key, value, effect))
        };
        self.labels.iter().all(|(key, value)| node.label(key) == Some(value))
            && node.repelling().iter().all(|taint| tolerated(&taint.key, &taint.value, &taint.effect))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use bpfman_application::config::LINUX_NODES;
    use bpfman_runtime::wire::WireNode;
    use serde_json::{Value, json};

    use super::*;

    fn takes(spec: Value, labels: Value, taints: Value) -> bool {
        let mut whole =
            json!({ "configuration": "x", "agent": { "image": "a" }, "daemon": { "image": "d" } });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: ConfigSpec = serde_json::from_value(whole).unwrap();
        let node = json!({ "metadata": { "name": "n", "labels": labels }, "spec": { "taints": taints } });
        let wire: WireNode = serde_json::from_value(node).unwrap();
        DaemonNodes::of(&spec).takes(&ClusterNode::new(&wire, &mut Default::default()))
    }

    #[test]
    fn all_linux_nodes_are_selected_by_default() {
        let taints = json!([{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }]);
        assert!(takes(json!({}), json!({ (LINUX_NODES.0): "linux" }), taints));
        assert!(!takes(json!({}), json!({ (LINUX_NODES.0): "windows" }), json!([])));
    }

    #[test]
    fn labels_choose_among_nodes_with_linux() {
        let spec = json!({ "nodeSelector": { "tier": "edge" } });
        assert!(takes(spec.clone(), json!({ (LINUX_NODES.0): "linux", "tier": "edge" }), json!([])));
        assert!(!takes(spec.clone(), json!({ (LINUX_NODES.0): "linux" }), json!([])));
        assert!(!takes(spec, json!({ "tier": "edge" }), json!([])));
    }

    #[test]
    fn only_taints_that_repel_daemon_set_pods_count() {
        let spec = json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] });
        let with = |taint: Value| takes(spec.clone(), json!({ (LINUX_NODES.0): "linux" }), json!([taint]));
        assert!(with(json!({ "key": "gpu", "effect": "NoExecute" })));
        assert!(!with(json!({ "key": "dedicated", "value": "db", "effect": "NoSchedule" })));
        assert!(with(json!({ "key": "dedicated", "value": "db", "effect": "PreferNoSchedule" })));
        assert!(with(json!({ "key": "node.kubernetes.io/not-ready", "effect": "NoExecute" })));
        assert!(with(json!({ "key": "bpfman.io/not-ready", "effect": "NoSchedule" })));
    }
}

use bpfman_application::orders::NOT_READY_TAINT;

use super::text::{Interner, SharedText};
use bpfman_runtime::wire::{WireNode, WireTaint, is_true};

/// Annotation with the boot in which a node's programs returned, so that a later application does not taint it again.
pub const READY_BOOT: &str = "bpfman.io/ready-boot";

/// Stored fields of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// Kernel release, as printed by `uname -r`.
    pub kernel: SharedText,
    pub boot_id: SharedText,
    /// Boot in which its programs last returned.
    pub ready_boot: Option<SharedText>,
    /// True if Kubernetes reports the node as ready.
    pub ready: bool,
    /// True if the node has the `not-ready` taint.
    pub tainted: bool,
    repelling: Box<[WireTaint]>,
    labels: Box<[(SharedText, SharedText)]>,
}

impl ClusterNode {
    /// Extracts the stored fields of a node.
    #[must_use]
    pub fn new(wire: &WireNode, interner: &mut Interner) -> Self {
        let status = wire.status.as_ref();
        let info = status.map(|status| &status.node_info);
        let ready_boot =
            wire.metadata.annotations.as_ref().and_then(|all| all.get(READY_BOOT)).map(String::as_str);
        Self {
            kernel: interner.intern(info.map_or("", |info| &info.kernel_version)),
            boot_id: info.map_or("", |info| &info.boot_id).into(),
            ready_boot: ready_boot.map(SharedText::from),
            ready: status.is_some_and(|status| is_true(&status.conditions, "Ready")),
            tainted: wire.spec.iter().flat_map(|spec| &spec.taints).any(|taint| taint.key == NOT_READY_TAINT),
            repelling: wire
                .spec
                .iter()
                .flat_map(|spec| &spec.taints)
                .filter(|taint| taint.effect != "PreferNoSchedule" && taint.key != NOT_READY_TAINT)
                .cloned()
                .collect(),
            labels: wire
                .metadata
                .labels
                .iter()
                .flatten()
                .map(|(key, value)| (interner.intern(key), interner.intern(value)))
                .collect(),
        }
    }

    /// Returns the taints that keep pods without a toleration away, except the `not-ready` taint.
    #[must_use]
    pub fn repelling(&self) -> &[WireTaint] {
        &self.repelling
    }

    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(label, _)| (**label).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_kernel_boot_taint_and_readiness_are_kept() {
        let wire: WireNode = serde_json::from_value(json!({
            "metadata": {
                "name": "n1",
                "labels": { "zone": "a", "kubernetes.io/os": "linux" },
                "annotations": { READY_BOOT: "b0" },
                "managedFields": [{ "manager": "kubelet" }]
            },
            "spec": { "taints": [{ "key": NOT_READY_TAINT, "effect": "NoSchedule" }] },
            "status": {
                "nodeInfo": { "kernelVersion": "6.1.0", "bootID": "b1", "osImage": "x" },
                "conditions": [{ "type": "Ready", "status": "True" }],
                "images": [{ "names": ["many"] }]
            }
        }))
        .unwrap();
        let node = ClusterNode::new(&wire, &mut Interner::default());
        assert_eq!((&*node.kernel, &*node.boot_id), ("6.1.0", "b1"));
        assert_eq!(node.ready_boot.as_deref(), Some("b0"));
        assert!(node.ready && node.tainted);
        assert_eq!(node.label("zone"), Some("a"));
        assert_eq!(node.label("kubernetes.io/os"), Some("linux"));
        assert_eq!(node.label("rack"), None);
    }

    #[test]
    fn a_node_that_has_said_nothing_yet_is_kept() {
        let wire: WireNode = serde_json::from_value(json!({ "metadata": { "name": "n1" } })).unwrap();
        let node = ClusterNode::new(&wire, &mut Interner::default());
        assert!(!node.ready && !node.tainted && node.boot_id.is_empty());
    }
}

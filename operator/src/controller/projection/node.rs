//! A node, as far as applications select it and taints go.

use bpfman_application::orders::NOT_READY_TAINT;

use super::text::{Interner, SharedText};
use bpfman_runtime::wire::{WireNode, WireTaint, is_true};

/// Annotation of a node: the boot in which its programs were seen back. Written together with the taint's removal, so
/// that an application which comes later in the same boot does not make the node new again.
pub const READY_BOOT: &str = "bpfman.io/ready-boot";

/// What is kept of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// As `uname -r` prints it.
    pub kernel: SharedText,
    /// The kernel's boot id.
    pub boot_id: SharedText,
    /// The boot in which its programs were last seen back.
    pub ready_boot: Option<SharedText>,
    /// Whether Kubernetes calls it ready.
    pub ready: bool,
    /// Whether it has our taint.
    pub tainted: bool,
    /// Taints that keep pods away, but for ours.
    repelling: Box<[WireTaint]>,
    /// Ordered by key.
    labels: Box<[(SharedText, SharedText)]>,
}

impl ClusterNode {
    /// Keeps what matters of a node.
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

    /// Its taints that keep pods away unless they put up with them. Ours is none of them.
    #[must_use]
    pub fn repelling(&self) -> &[WireTaint] {
        &self.repelling
    }

    /// The value of a label.
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

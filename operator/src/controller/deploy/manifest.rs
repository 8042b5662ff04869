//! Parts of the manifests of daemon and agent.

use bpfman_application::config::ConfigSpec;
use bpfman_application::deployment::ContainerResources;
use serde_json::{Value, json};

pub const CONFIG_MAP: &str = "bpfman-config";

pub const POLICY_MAP: &str = "bpfman-policy";

pub const NAMESPACE: &str = "bpfman";

const PRIORITY: &str = "system-node-critical";

#[must_use]
pub fn namespace(spec: &ConfigSpec) -> &str {
    spec.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(NAMESPACE)
}

#[must_use]
pub fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": "bpfman",
        "app.kubernetes.io/managed-by": "bpfman-operator"
    })
}

/// Returns a DaemonSet that replaces ten percent of its pods at a time: 5,000 nodes take ten steps, and nine
/// of ten nodes keep working if the new version does not start. Programs run on without their node's pod.
#[must_use]
pub fn daemon_set(name: &str, spec: &ConfigSpec, pod_labels: Value, mut pod: Value) -> Value {
    pod["automountServiceAccountToken"] = json!(false);
    pod["priorityClassName"] = json!(spec.priority_class_name.as_deref().unwrap_or(PRIORITY));
    pod["nodeSelector"] = json!(spec.node_labels());
    pod["tolerations"] = json!(spec.tolerations());
    pod["imagePullSecrets"] = json!(spec.image_pull_secrets);
    // These annotations change with the configuration, so that pods restart with the new one.
    let annotations = json!({
        "bpfman.io.bpfman.log.level": spec.daemon.log_level.as_deref().unwrap_or_default(),
        "bpfman.io.bpfman.agent.log.level": spec.agent.log_level.as_deref().unwrap_or_default(),
        "bpfman.io.bpfman.toml": spec.configuration
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": namespace(spec), "labels": labels(name) },
        "spec": {
            "selector": { "matchLabels": { "app.kubernetes.io/name": name } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%" } },
            "template": {
                "metadata": { "labels": pod_labels, "annotations": annotations },
                "spec": pod
            }
        }
    })
}

#[must_use]
pub fn resources(given: Option<&ContainerResources>, cpu: &str, memory: &str) -> Value {
    given.map_or_else(|| json!({ "requests": { "cpu": cpu, "memory": memory } }), |given| json!(given))
}

#[must_use]
pub fn host_folder(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } })
}

#[must_use]
pub fn pod_field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } })
}

pub fn push(list: &mut Value, more: impl IntoIterator<Item = Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

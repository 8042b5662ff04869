//! The DaemonSet of the node agent: no privileges, no host but the daemon's socket.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::cni;
use super::daemon::SOCKET_GROUP;
use super::images::DeployImages;
use super::objects::{self, host_folder, labels, pod_field};

/// Its name, and that of its account.
const NAME: &str = "bpfman-agent";

/// A user that is nobody else's on a node: its socket and its file for the network plugin are its own. Images without
/// root agree on 65532 and the like, so their pods would have it; distributions and systemd give nobody this one.
pub(super) const USER: u32 = 60_750;

/// The DaemonSet.
#[must_use]
pub fn daemon_set(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let pod = json!({
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "supplementalGroups": [SOCKET_GROUP],
            "seccompProfile": { "type": "RuntimeDefault" }
        },
        "containers": [container(spec, images)],
        "volumes": [
            // The daemon makes it; an agent that is first waits for it.
            host_folder("socket", "/run/bpfman-sock"),
            account()
        ]
    });
    let mut set = objects::daemon_set(NAME, spec, labels(NAME), pod);
    cni::add(&mut set, spec, images);
    set
}

fn container(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let port = if spec.agent.health_probe_port == 0 { 8175 } else { spec.agent.health_probe_port };
    let probe = |path: &str, seconds: u32| json!({ "httpGet": { "path": path, "port": port, "scheme": "HTTP" }, "periodSeconds": seconds });
    json!({
        "name": NAME,
        "image": spec.agent.image,
        "imagePullPolicy": images.pull_policy,
        "args": [
            "agent",
            format!("--health-probe-bind-address=:{port}"),
            format!("--namespace={}", images.home)
        ],
        "env": [
            pod_field("KUBE_NODE_NAME", "spec.nodeName"),
            { "name": "BPFMAN_LOG", "value": spec.agent.log_level.as_deref().unwrap_or("info") }
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] }
        },
        "livenessProbe": probe("/healthz", 20),
        "readinessProbe": probe("/readyz", 5),
        // Its memory is bounded by what is on its node: measured in docs/scale.md.
        "resources": objects::resources(spec.agent.resources.as_ref(), "10m", "25Mi"),
        // Probes and metrics.
        "ports": [{ "name": "metrics", "containerPort": port, "protocol": "TCP" }],
        "volumeMounts": [
            { "name": "socket", "mountPath": "/run/bpfman-sock" },
            { "name": "account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }
        ]
    })
}

/// The pod's account, with a token that is bound to this pod, from which admission knows the agent's node. Servers before
/// 1.21 would mount one that is bound to nothing, and is good for every node.
fn account() -> Value {
    let namespace = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    json!({
        "name": "account",
        "projected": {
            // The agent is not root; its files are.
            "defaultMode": 0o444,
            "sources": [
                // As long as the kubelet asks for by itself; it renews it in time.
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": namespace }] } }
            ]
        }
    })
}

//! DaemonSet of the node agent: no privileges, and nothing of the host but the daemon's socket.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::cni;
use super::daemon::SOCKET_GROUP;
use super::images::DeployImages;
use super::objects::{self, host_folder, labels, pod_field, push};

/// Port of metrics over TLS, and the port to use if probes have that one.
const METRICS: u16 = 8443;
const METRICS_ELSE: u16 = 8444;

/// Mount path of the Secret with the metrics certificate, if the `Config` names one.
const CERTIFICATE: &str = "/etc/bpfman-metrics";

/// Name of the DaemonSet and of its service account.
const NAME: &str = "bpfman-agent";

/// User id that no other process on a node has, since the agent's socket and its file for the network plugin belong to
/// it. Rootless images commonly use 65532 and the like; distributions and systemd do not assign this id.
pub(super) const USER: u32 = 60_750;

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
            // The daemon creates the folder; an agent that starts earlier waits for it.
            host_folder("socket", "/run/bpfman-sock"),
            account()
        ]
    });
    let mut set = objects::daemon_set(NAME, spec, labels(NAME), pod);
    if let Some(secret) = &spec.agent.metrics_certificate {
        give_certificate(&mut set["spec"]["template"]["spec"], secret);
    }
    cni::add(&mut set, spec, images);
    set
}

fn container(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let port = if spec.agent.health_probe_port == 0 { 8175 } else { spec.agent.health_probe_port };
    let metrics = if port == METRICS { METRICS_ELSE } else { METRICS };
    let probe = |path: &str, seconds: u32| json!({ "httpGet": { "path": path, "port": port, "scheme": "HTTP" }, "periodSeconds": seconds });
    json!({
        "name": NAME,
        "image": spec.agent.image,
        "imagePullPolicy": images.pull_policy,
        "args": [
            "agent",
            format!("--health-probe-bind-address=:{port}"),
            format!("--metrics-bind-address=:{metrics}"),
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
        // Memory depends on the number of objects on the node: measured in docs/scale.md.
        "resources": objects::resources(spec.agent.resources.as_ref(), "10m", "25Mi"),
        "ports": [
            { "name": "probes", "containerPort": port, "protocol": "TCP" },
            { "name": "metrics", "containerPort": metrics, "protocol": "TCP" }
        ],
        "volumeMounts": [
            { "name": "socket", "mountPath": "/run/bpfman-sock" },
            { "name": "account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true }
        ]
    })
}

/// Mounts the Secret with the metrics certificate, of type `kubernetes.io/tls`.
fn give_certificate(pod: &mut Value, secret: &str) {
    let container = &mut pod["containers"][0];
    let files = [("--metrics-certificate", "tls.crt"), ("--metrics-key", "tls.key")];
    push(&mut container["args"], files.map(|(flag, file)| json!(format!("{flag}={CERTIFICATE}/{file}"))));
    let mount = json!({ "name": "metrics-certificate", "mountPath": CERTIFICATE, "readOnly": true });
    push(&mut container["volumeMounts"], [mount]);
    // The agent does not run as root, but the files belong to root.
    let volume = json!({ "secretName": secret, "defaultMode": 0o444 });
    push(&mut pod["volumes"], [json!({ "name": "metrics-certificate", "secret": volume })]);
}

/// Returns the volume of the service account. Its token is bound to this pod, by which admission determines the agent's
/// node. Servers before 1.21 would mount an unbound token, which is valid for every node.
fn account() -> Value {
    let namespace = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    json!({
        "name": "account",
        "projected": {
            // The agent does not run as root, but the files belong to root.
            "defaultMode": 0o444,
            "sources": [
                // The kubelet's default lifetime in seconds; it renews the token in time.
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": namespace }] } }
            ]
        }
    })
}

//! DaemonSet of the node agent: no privileges, and nothing of the host but the daemon's socket.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::cni;
use super::daemon::SOCKET_GROUP;
use super::images::DeployImages;
use super::manifest::{self, host_folder, labels, pod_field, push};

const METRICS: u16 = 8443;
const METRICS_ELSE: u16 = 8444;

const CERTIFICATE: &str = "/etc/bpfman-metrics";

const NAME: &str = "bpfman-agent";

/// Owner of the agent's socket and plugin file: unlike 65532, no common image, distribution or systemd uses it.
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
    let mut set = manifest::daemon_set(NAME, spec, labels(NAME), pod);
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
        "resources": manifest::resources(spec.agent.resources.as_ref(), "10m", "25Mi"),
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

/// Mounts a token bound to this pod, by which admission determines the node; servers before 1.21 ignore the binding.
fn account() -> Value {
    let namespace = json!({ "apiVersion": "v1", "fieldPath": "metadata.namespace" });
    json!({
        "name": "account",
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": namespace }] } }
            ]
        }
    })
}

//! The DaemonSet of the node agent: no privileges, no host but the daemon's socket.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::cni;
use super::daemon::SOCKET_GROUP;
use super::images::DeployImages;
use super::objects::{self, host_folder, labels, pod_field, push};

/// Where metrics are, over TLS; and where else if probes are there.
const METRICS: u16 = 8443;
const METRICS_ELSE: u16 = 8444;

/// Where the Secret with their certificate is, if the object names one.
const CERTIFICATE: &str = "/etc/bpfman-metrics";

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
        // Its memory is bounded by what is on its node: measured in docs/scale.md.
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

/// Mounts the Secret with the certificate of metrics, of type `kubernetes.io/tls`.
fn give_certificate(pod: &mut Value, secret: &str) {
    let container = &mut pod["containers"][0];
    let files = [("--metrics-certificate", "tls.crt"), ("--metrics-key", "tls.key")];
    push(&mut container["args"], files.map(|(flag, file)| json!(format!("{flag}={CERTIFICATE}/{file}"))));
    let mount = json!({ "name": "metrics-certificate", "mountPath": CERTIFICATE, "readOnly": true });
    push(&mut container["volumeMounts"], [mount]);
    // The agent is not root; the files are.
    let volume = json!({ "secretName": secret, "defaultMode": 0o444 });
    push(&mut pod["volumes"], [json!({ "name": "metrics-certificate", "secret": volume })]);
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

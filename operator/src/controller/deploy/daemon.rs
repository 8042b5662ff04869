//! The DaemonSet of the daemon: privileged, since it is what loads programs.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::agent::USER;
use super::images::DeployImages;
use super::objects::{self, CONFIG_MAP, POLICY_MAP, host_folder, labels, pod_field};

/// Its name, and that of its account.
const NAME: &str = "bpfman-daemon";

/// Group that may speak to the daemon's socket. The agent has it as a supplemental group.
pub const SOCKET_GROUP: u32 = 2750;

/// The folder of the CSI plugin, and the socket in it: the same for the daemon and for the kubelet. It is part of the
/// runtime folder and no mount of its own: such a mount would reach the node too, once more with each start of the pod.
const PLUGIN: &str = "/run/bpfman/csi";
const PLUGIN_SOCKET: &str = "/run/bpfman/csi/csi.sock";

/// Host folders in the daemon's container: name, path on the host, path in the container, propagation.
///
/// Processes and network namespaces are found below `/host/proc` and `/run/netns`; CSI mounts go both ways, and so does
/// the daemon's own bpffs, which has to outlive its container.
const MOUNTS: [(&str, &str, &str, Option<&str>); 12] = [
    ("runtime", "/run/bpfman", "/run/bpfman", Some("Bidirectional")),
    ("socket", "/run/bpfman-sock", "/run/bpfman-sock", None),
    ("state", "/var/lib/bpfman", "/var/lib/bpfman", None),
    ("cache", "/var/cache/bpfman", "/var/cache/bpfman", None),
    ("bpffs", "/sys/fs/bpf", "/sys/fs/bpf", Some("Bidirectional")),
    ("debugfs", "/sys/kernel/debug", "/sys/kernel/debug", Some("HostToContainer")),
    ("cgroup", "/sys/fs/cgroup", "/sys/fs/cgroup", Some("HostToContainer")),
    ("host-proc", "/proc", "/host/proc", None),
    ("netns", "/var/run/netns", "/var/run/netns", Some("HostToContainer")),
    ("host-netns", "/var/run/netns", "/host/netns", Some("HostToContainer")),
    ("registry", "/var/lib/kubelet/plugins_registry", "/var/lib/kubelet/plugins_registry", None),
    ("pods", "/var/lib/kubelet/pods", "/var/lib/kubelet/pods", Some("Bidirectional")),
];

/// Labels of its pods: ours, and the one of the published deployment, by which manifests of users select them.
fn pod_labels() -> Value {
    let mut labels = labels(NAME);
    labels["name"] = json!(NAME);
    labels
}

/// The DaemonSet.
#[must_use]
pub fn daemon_set(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let mut containers = vec![container(spec, images)];
    containers.extend(registrar(spec, images));
    let mut volumes: Vec<Value> = MOUNTS.iter().map(|(name, host, ..)| host_folder(name, host)).collect();
    if spec.daemon.csi_registrar_image.is_some() {
        volumes.push(host_folder("plugin", PLUGIN));
    }
    // The policy is a map of its own, which the operator only reads: who may change what is deployed need not be who says
    // whose programs run. What changes in it reaches the daemon without a restart.
    volumes.push(json!({
        "name": "configuration",
        "projected": { "sources": [
            { "configMap": { "name": CONFIG_MAP, "items": [{ "key": "bpfman.toml", "path": "bpfman.toml" }] } },
            { "configMap": { "name": POLICY_MAP, "items": [{ "key": "policy.toml", "path": "policy.toml" }], "optional": true } }
        ] }
    }));
    volumes.push(json!({ "name": "tmp", "emptyDir": {} }));
    let pod = json!({
        "serviceAccountName": NAME,
        "hostNetwork": true,
        "hostPID": true,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "terminationGracePeriodSeconds": 15,
        "containers": containers,
        "volumes": volumes
    });
    objects::daemon_set(NAME, spec, pod_labels(), pod)
}

fn container(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let mut mounts: Vec<Value> = MOUNTS
        .iter()
        .map(|(name, _, path, propagation)| {
            let mut mount = json!({ "name": name, "mountPath": path });
            if let Some(propagation) = propagation {
                mount["mountPropagation"] = json!(propagation);
            }
            mount
        })
        .collect();
    mounts.push(json!({ "name": "configuration", "mountPath": "/etc/bpfman", "readOnly": true }));
    mounts.push(json!({ "name": "tmp", "mountPath": "/tmp" }));
    let mut arguments = vec![
        "serve".to_owned(),
        "--csi-support".to_owned(),
        format!("--socket-group={SOCKET_GROUP}"),
        format!("--node-agent-user={USER}"),
    ];
    if spec.daemon.csi_registrar_image.is_none() {
        arguments.push("--csi-registration-dir=/var/lib/kubelet/plugins_registry".to_owned());
        arguments.push(format!("--csi-kubelet-socket={PLUGIN_SOCKET}"));
    }
    json!({
        "name": "bpfman",
        "image": spec.daemon.image,
        "imagePullPolicy": images.pull_policy,
        "args": arguments,
        "env": [
            { "name": "BPFMAN_LOG", "value": spec.daemon.log_level.as_deref().unwrap_or("info") },
            pod_field("KUBE_NODE_NAME", "spec.nodeName")
        ],
        "securityContext": { "privileged": true, "runAsUser": 0 },
        "readinessProbe": probe(10, 3),
        // Programs run on while it is started anew. A change of thousands of hooks, or a start with as many, may take a while.
        "livenessProbe": probe(60, 5),
        // Not the last one to be thought of when memory is short. There is no limit: the maps of all programs count as its
        // memory, and who loads them says how large they are.
        "resources": { "requests": { "cpu": "10m", "memory": "64Mi" } },
        "volumeMounts": mounts
    })
}

/// Asks the daemon as any client does: one that listens and does not answer is not ready.
fn probe(seconds: u32, failures: u32) -> Value {
    json!({
        "exec": { "command": ["/usr/sbin/bpfmand", "check"] },
        "periodSeconds": seconds,
        "timeoutSeconds": 10,
        "failureThreshold": failures
    })
}

/// The registrar of the published deployment, for who names its image; the daemon registers itself otherwise.
fn registrar(spec: &ConfigSpec, images: &DeployImages) -> Option<Value> {
    let image = spec.daemon.csi_registrar_image.as_ref()?;
    Some(json!({
        "name": "node-driver-registrar",
        "image": image,
        "imagePullPolicy": images.pull_policy,
        "args": ["--csi-address=/csi/csi.sock", format!("--kubelet-registration-path={PLUGIN_SOCKET}")],
        "securityContext": { "privileged": true },
        "volumeMounts": [
            { "name": "plugin", "mountPath": "/csi" },
            { "name": "registry", "mountPath": "/registration" }
        ]
    }))
}

//! DaemonSet of the daemon: privileged if it mounts volumes for pods, otherwise with the capabilities that it keeps.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::agent::USER;
use super::images::DeployImages;
use super::manifest::{self, CONFIG_MAP, POLICY_MAP, host_folder, labels, pod_field};

const NAME: &str = "bpfman-daemon";

pub const SOCKET_GROUP: u32 = 2750;

/// Folder of the CSI socket, with the same path for daemon and kubelet. It is below [`RUNTIME`], because a
/// mount of its own would propagate to the node at each start.
const PLUGIN: &str = "/run/bpfman/csi";
const PLUGIN_SOCKET: &str = "/run/bpfman/csi/csi.sock";

const CAPABILITIES: [&str; 10] = [
    "BPF",
    "PERFMON",
    "NET_ADMIN",
    "SYS_ADMIN",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "SETUID",
    "SETGID",
    "CHOWN",
    "FOWNER",
];

#[derive(Clone, Copy)]
enum Propagation {
    None,
    In,
    /// Mounts also propagate to the host, which Kubernetes allows only for privileged containers.
    Volumes,
}

/// Name, paths on the host and in the container, propagation. The bpffs must outlive the container.
const MOUNTS: [(&str, &str, &str, Propagation); 11] = [
    ("runtime", RUNTIME, RUNTIME, Propagation::Volumes),
    ("socket", "/run/bpfman-sock", "/run/bpfman-sock", Propagation::None),
    ("state", "/var/lib/bpfman", "/var/lib/bpfman", Propagation::None),
    ("cache", "/var/cache/bpfman", "/var/cache/bpfman", Propagation::None),
    ("bpffs", "/sys/fs/bpf", "/sys/fs/bpf", Propagation::In),
    ("debugfs", "/sys/kernel/debug", "/sys/kernel/debug", Propagation::In),
    ("cgroup", "/sys/fs/cgroup", "/sys/fs/cgroup", Propagation::In),
    ("host-proc", "/proc", "/host/proc", Propagation::None),
    ("netns", "/var/run/netns", "/var/run/netns", Propagation::In),
    ("host-netns", "/var/run/netns", "/host/netns", Propagation::In),
    (POD_LOGS, "/var/log/pods", "/host/pod-logs", Propagation::None),
];

/// Volume of the pods' log folders, whose names contain the namespaces of pods.
const POD_LOGS: &str = "pod-logs";

const RUNTIME: &str = "/run/bpfman";

fn serves_volumes(spec: &ConfigSpec) -> bool {
    spec.daemon.csi != Some(false)
}

fn registry(spec: &ConfigSpec) -> String {
    format!("{}/plugins_registry", spec.kubelet_dir())
}

/// Returns all mounts. The kubelet names volumes by their paths on the node: these paths are the same inside.
fn mounts(spec: &ConfigSpec) -> Vec<(&'static str, String, String, Propagation)> {
    let mut mounts: Vec<_> = MOUNTS
        .into_iter()
        .map(|(name, host, path, propagation)| (name, host.to_owned(), path.to_owned(), propagation))
        .collect();
    if serves_volumes(spec) {
        let pods = format!("{}/pods", spec.kubelet_dir());
        mounts.push(("registry", registry(spec), registry(spec), Propagation::None));
        mounts.push(("pods", pods.clone(), pods, Propagation::Volumes));
    }
    mounts
}

/// Returns the labels of the pods. `name` is from the published deployment: manifests of users select it.
fn pod_labels() -> Value {
    let mut labels = labels(NAME);
    labels["name"] = json!(NAME);
    labels
}

#[must_use]
pub fn daemon_set(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let mut containers = vec![container(spec, images)];
    containers.extend(registrar(spec, images));
    let mut volumes: Vec<Value> =
        mounts(spec).iter().map(|(name, host, ..)| host_folder(name, host)).collect();
    if serves_volumes(spec) && spec.daemon.csi_registrar_image.is_some() {
        volumes.push(host_folder("plugin", PLUGIN));
    }
    // The policy has its own ConfigMap, so that permission to change the deployment does not include the
    // policy. A change reaches the daemon without a restart.
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
        "initContainers": [bpffs(spec, images)],
        "containers": containers,
        "volumes": volumes
    });
    let mut set = manifest::daemon_set(NAME, spec, pod_labels(), pod);
    // AppArmor profiles of runtimes deny mounts and access to other processes. Kubernetes before 1.30 reads this
    // annotation instead of the field.
    set["spec"]["template"]["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/bpfman"] =
        json!("unconfined");
    set
}

/// Mounts the bpffs for the whole node: for that, the kubelet requires a privileged container.
fn bpffs(spec: &ConfigSpec, images: &DeployImages) -> Value {
    json!({
        "name": "bpffs",
        "image": spec.daemon.image,
        "imagePullPolicy": images.pull_policy,
        "args": ["mount"],
        "securityContext": { "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true },
        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
        "volumeMounts": [{ "name": "runtime", "mountPath": RUNTIME, "mountPropagation": "Bidirectional" }]
    })
}

fn security(spec: &ConfigSpec) -> Value {
    if serves_volumes(spec) {
        return json!({ "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true });
    }
    json!({
        "runAsUser": 0,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
        // The daemon's own filter is stricter. Profiles of older runtimes return EPERM instead of ENOSYS for openat2
        // and faccessat2, which prevents fallbacks.
        "seccompProfile": { "type": "Unconfined" }
    })
}

fn container(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let mut mounts: Vec<Value> = mounts(spec)
        .into_iter()
        .map(|(name, _, path, propagation)| {
            let mut mount = json!({ "name": name, "mountPath": path });
            if name == POD_LOGS {
                mount["readOnly"] = json!(true);
            }
            let propagation = match propagation {
                Propagation::None => return mount,
                Propagation::Volumes if serves_volumes(spec) => "Bidirectional",
                Propagation::In | Propagation::Volumes => "HostToContainer",
            };
            mount["mountPropagation"] = json!(propagation);
            mount
        })
        .collect();
    mounts.push(json!({ "name": "configuration", "mountPath": "/etc/bpfman", "readOnly": true }));
    mounts.push(json!({ "name": "tmp", "mountPath": "/tmp" }));
    let mut arguments = vec![
        "serve".to_owned(),
        format!("--socket-group={SOCKET_GROUP}"),
        format!("--node-agent-user={USER}"),
    ];
    if serves_volumes(spec) {
        arguments.push("--csi-support".to_owned());
    }
    if serves_volumes(spec) && spec.daemon.csi_registrar_image.is_none() {
        arguments.push(format!("--csi-registration-dir={}", registry(spec)));
        arguments.push(format!("--csi-kubelet-socket={PLUGIN_SOCKET}"));
    }
    json!({
        "name": "bpfman",
        "image": spec.daemon.image,
        "imagePullPolicy": images.pull_policy,
        "args": arguments,
        "env": [
            { "name": "BPFMAN_LOG", "value": spec.daemon.log_level.as_deref().unwrap_or("info") },
            pod_field("KUBE_NODE_NAME", "spec.nodeName"),
            // The daemon compares pods of callers with its own, whose cgroup it may not see.
            pod_field("POD_NAMESPACE", "metadata.namespace"),
            pod_field("POD_NAME", "metadata.name"),
            pod_field("POD_UID", "metadata.uid")
        ],
        "securityContext": security(spec),
        "readinessProbe": probe(10, 3),
        // Programs run on while the daemon restarts. A start with thousands of hooks may take minutes.
        "livenessProbe": probe(60, 5),
        // A memory request prevents early eviction. No default limit: maps of all programs count as the daemon's
        // memory. The daemon limits its own (docs/cage.md).
        "resources": manifest::resources(spec.daemon.resources.as_ref(), "10m", "64Mi"),
        "volumeMounts": mounts
    })
}

/// Sends a request like any client: a daemon that listens but does not answer is not ready.
fn probe(seconds: u32, failures: u32) -> Value {
    json!({
        "exec": { "command": ["/usr/sbin/bpfmand", "check"] },
        "periodSeconds": seconds,
        "timeoutSeconds": 10,
        "failureThreshold": failures
    })
}

fn registrar(spec: &ConfigSpec, images: &DeployImages) -> Option<Value> {
    let image = spec.daemon.csi_registrar_image.as_ref().filter(|_| serves_volumes(spec))?;
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

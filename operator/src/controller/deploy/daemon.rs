//! DaemonSet of the daemon, which loads programs: privileged if it mounts volumes for pods, otherwise with the
//! capabilities that the daemon keeps.

use bpfman_application::config::ConfigSpec;
use serde_json::{Value, json};

use super::agent::USER;
use super::images::DeployImages;
use super::objects::{self, CONFIG_MAP, POLICY_MAP, host_folder, labels, pod_field};

/// Name of the DaemonSet and of its service account.
const NAME: &str = "bpfman-daemon";

/// Group with access to the daemon's socket. The agent has it as a supplemental group.
pub const SOCKET_GROUP: u32 = 2750;

/// Folder of the CSI plugin and its socket, with the same paths for the daemon and the kubelet. It is part of the
/// runtime folder: a separate mount would propagate to the node, once more with each start of the pod.
const PLUGIN: &str = "/run/bpfman/csi";
const PLUGIN_SOCKET: &str = "/run/bpfman/csi/csi.sock";

/// Capabilities that the daemon keeps (`docs/cage.md`), without prefix, as Kubernetes writes them.
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

/// Mount propagation between the node and the daemon's container.
#[derive(Clone, Copy)]
enum Propagation {
    /// No mounts are added later.
    None,
    /// Mounts of the host propagate into the container.
    In,
    /// Mounts of volumes propagate to the host as well, which Kubernetes allows only for privileged containers.
    Volumes,
}

/// Host folders in the daemon's container: name, path on the host, path in the container, propagation.
///
/// The daemon finds processes and network namespaces below `/host/proc` and `/run/netns`. Its own bpffs, which must
/// outlive the container, is mounted before it starts.
const MOUNTS: [(&str, &str, &str, Propagation); 10] = [
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
];

const RUNTIME: &str = "/run/bpfman";

fn serves_volumes(spec: &ConfigSpec) -> bool {
    spec.daemon.csi != Some(false)
}

fn registry(spec: &ConfigSpec) -> String {
    format!("{}/plugins_registry", spec.kubelet_dir())
}

/// Returns the mounts of this deployment. The kubelet's folders are for volumes: their mounts propagate in both
/// directions. Their paths are those on the node, since the kubelet names volumes by them.
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

/// Returns the pods' labels, including the one of the published deployment, which manifests of users select.
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
    // The policy is in a ConfigMap of its own, which the operator only reads: permission to change the deployment need
    // not include permission to change the policy. A change reaches the daemon without a restart.
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
    let mut set = objects::daemon_set(NAME, spec, pod_labels(), pod);
    // AppArmor profiles of container runtimes deny mounts and access to other processes. Kubernetes before 1.30 reads
    // this annotation instead of the field; without AppArmor it has no effect.
    set["spec"]["template"]["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/bpfman"] =
        json!("unconfined");
    set
}

/// Builds the init container that mounts the daemon's bpffs for the whole node, unless it is mounted. The kubelet
/// requires a privileged container for that, which the daemon's own need not be.
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

/// Returns the security context of the container. The daemon drops further privileges in both cases: `docs/cage.md`.
fn security(spec: &ConfigSpec) -> Value {
    if serves_volumes(spec) {
        return json!({ "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true });
    }
    json!({
        "runAsUser": 0,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
        // The daemon's own filter is stricter. Profiles of older runtimes return EPERM instead of ENOSYS for calls that
        // they do not know (openat2, faccessat2), which prevents fallbacks.
        "seccompProfile": { "type": "Unconfined" }
    })
}

fn container(spec: &ConfigSpec, images: &DeployImages) -> Value {
    let mut mounts: Vec<Value> = mounts(spec)
        .into_iter()
        .map(|(name, _, path, propagation)| {
            let mut mount = json!({ "name": name, "mountPath": path });
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
            pod_field("KUBE_NODE_NAME", "spec.nodeName")
        ],
        "securityContext": security(spec),
        "readinessProbe": probe(10, 3),
        // Programs keep running while the daemon restarts. A change of thousands of hooks, or a start with as many, may
        // take a while, so that failures are tolerated for minutes.
        "livenessProbe": probe(60, 5),
        // A memory request keeps the daemon from early eviction. There is no default limit: maps of all programs count
        // as its memory, and their sizes are up to the users. The daemon limits its own memory (docs/cage.md).
        "resources": objects::resources(spec.daemon.resources.as_ref(), "10m", "64Mi"),
        "volumeMounts": mounts
    })
}

/// Returns a probe that sends a request like any client: a daemon that listens but does not answer is not ready.
fn probe(seconds: u32, failures: u32) -> Value {
    json!({
        "exec": { "command": ["/usr/sbin/bpfmand", "check"] },
        "periodSeconds": seconds,
        "timeoutSeconds": 10,
        "failureThreshold": failures
    })
}

/// Returns the registrar of the published deployment if the `Config` names one; otherwise the daemon registers itself.
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

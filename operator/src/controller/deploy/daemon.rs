//! The DaemonSet of the daemon, which loads programs: privileged where it mounts volumes for pods, else with the capabilities
//! that the daemon keeps.

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

/// What the daemon keeps (`docs/cage.md`), without their prefix, as Kubernetes has them.
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

/// How mounts reach the daemon's container, and leave it.
#[derive(Clone, Copy)]
enum Propagation {
    /// Nothing is mounted there later.
    None,
    /// Mounts of the host come in.
    In,
    /// Mounts of volumes go out as well; Kubernetes gives that to privileged containers only.
    Volumes,
}

/// Host folders in the daemon's container: name, path on the host, path in the container, propagation.
///
/// Processes and network namespaces are found below `/host/proc` and `/run/netns`. The daemon's own bpffs, which has to
/// outlive the container, is there when it starts.
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

/// The daemon's folder.
const RUNTIME: &str = "/run/bpfman";

/// Whether volumes of maps are served.
fn serves_volumes(spec: &ConfigSpec) -> bool {
    spec.daemon.csi != Some(false)
}

/// The kubelet's folder of plugins.
fn registry(spec: &ConfigSpec) -> String {
    format!("{}/plugins_registry", spec.kubelet_dir())
}

/// The mounts of this deployment. The kubelet's folders are for volumes, which go both ways; it names them by their paths on
/// the node.
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
    let mut volumes: Vec<Value> =
        mounts(spec).iter().map(|(name, host, ..)| host_folder(name, host)).collect();
    if serves_volumes(spec) && spec.daemon.csi_registrar_image.is_some() {
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
        "initContainers": [bpffs(spec, images)],
        "containers": containers,
        "volumes": volumes
    });
    let mut set = objects::daemon_set(NAME, spec, pod_labels(), pod);
    // The profiles of container runtimes deny mounts, and looking at processes of others. Where Kubernetes is older than the
    // field (1.30), this is what it reads; where AppArmor is not there, it asks for nothing.
    set["spec"]["template"]["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/bpfman"] =
        json!("unconfined");
    set
}

/// Mounts the daemon's own bpffs where the whole node sees it, unless it is there, and ends: for that the kubelet wants a
/// privileged container, which the daemon need not be.
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

/// What the daemon's container may do. The daemon itself keeps less, in both cases: `docs/cage.md`.
fn security(spec: &ConfigSpec) -> Value {
    if serves_volumes(spec) {
        return json!({ "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true });
    }
    json!({
        "runAsUser": 0,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
        // The daemon's own filter is narrower. Profiles of older runtimes answer EPERM to calls that they do not know
        // (openat2, faccessat2), which is another answer than that there is no such call.
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
        // Programs run on while it is started anew. A change of thousands of hooks, or a start with as many, may take a while.
        "livenessProbe": probe(60, 5),
        // Not the last one to be thought of when memory is short. There is no limit unless somebody says one: the maps of all
        // programs count as its memory, and who loads them says how large they are. The daemon limits its own (docs/cage.md).
        "resources": objects::resources(spec.daemon.resources.as_ref(), "10m", "64Mi"),
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

//! Configuration of the operator: a single object, named `bpfman-config`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::condition::conditions;
use super::deployment::{
    self, ContainerResources, NodeToleration, PullSecretName, TolerationOperator, node_labels, object_name,
};

const KUBELET: &str = "/var/lib/kubelet";

/// Label and value of the nodes that a daemon can run on.
pub const LINUX_NODES: (&str, &str) = ("kubernetes.io/os", "linux");

/// Name of the configuration object.
pub const CONFIG_NAME: &str = "bpfman-config";

/// Spec of the operator's deployment.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "Config",
    plural = "configs",
    category = "bpfman",
    status = "ConfigStatus",
    derive = "PartialEq",
    doc = "Deployment of the operator: images, log levels, and the daemon's configuration file.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace", priority = 1),
    printcolumn(name = "Daemon", type_ = "string", json_path = ".spec.daemon.image", priority = 1),
    printcolumn(name = "Agent", type_ = "string", json_path = ".spec.agent.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// Namespace that daemon and agent are deployed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The daemon's `bpfman.toml`.
    #[schemars(length(min = 1))]
    pub configuration: String,
    /// The node agent.
    pub agent: AgentSpec,
    /// The daemon.
    pub daemon: DaemonSpec,
    /// Objects that the operator leaves alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["kind", "apiVersion", "namespace", "name"]
    ))]
    pub overrides: Vec<Override>,
    /// True: a node repels pods by the taint `bpfman.io/not-ready` from its start until its programs are loaded again.
    /// Absent: taints are left alone; false: the taint is removed from all nodes. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_taint: Option<bool>,
    /// The CNI plugin, which keeps a pod's first packet back until its programs are attached. Absent: nodes' network
    /// configurations are left alone. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniSpec>,
    /// The kubelet's folder on nodes, where pods and plugins are; absent: `/var/lib/kubelet`. An addition to the published
    /// API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = deployment::FOLDER))]
    pub kubelet_dir: Option<String>,
    /// Labels of the nodes that daemon and agent run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "node_labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that pods of daemon and agent tolerate, besides `bpfman.io/not-ready`; absent: every one. An addition to
    /// the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Option<Vec<NodeToleration>>,
    /// Name of the PriorityClass of their pods; absent: `system-node-critical`. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "object_name")]
    pub priority_class_name: Option<String>,
    /// Secrets of their namespace by which their images are pulled. An addition to the published API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<PullSecretName>,
}

impl ConfigSpec {
    /// Returns the kubelet's directory.
    #[must_use]
    pub fn kubelet_dir(&self) -> &str {
        self.kubelet_dir.as_deref().unwrap_or(KUBELET)
    }

    /// Returns the labels of the nodes that daemon and agent run on.
    #[must_use]
    pub fn node_labels(&self) -> BTreeMap<&str, &str> {
        let own = self.node_selector.iter().map(|(key, value)| (&**key, &**value));
        own.chain([LINUX_NODES]).collect()
    }

    /// Returns the tolerations of the pods of daemon and agent.
    #[must_use]
    pub fn tolerations(&self) -> Vec<NodeToleration> {
        let every =
            NodeToleration { operator: Some(TolerationOperator::Exists), ..NodeToleration::default() };
        match &self.tolerations {
            None => vec![every],
            // The taint is removed only after the agent's programs are back, so the agent must run there.
            Some(given) => {
                let ours = NodeToleration { key: Some(super::orders::NOT_READY_TAINT.to_owned()), ..every };
                given.iter().cloned().chain([ours]).collect()
            }
        }
    }

    /// Returns the problems that the schema does not express.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let (key, linux) = LINUX_NODES;
        let mut problems = Vec::new();
        if let Some(other) = self.node_selector.get(key).filter(|value| *value != linux) {
            problems.push(format!("spec.nodeSelector: {key} is {other}, and daemons run on {linux} only"));
        }
        let tolerations = self.tolerations.iter().flatten().enumerate();
        problems.extend(tolerations.filter_map(|(at, toleration)| {
            Some(format!("spec.tolerations[{at}]: {}", toleration.problem()?))
        }));
        problems
    }
}

/// The CNI plugin on each node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CniSpec {
    /// Its image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Folder of plugins on nodes; absent: `/opt/cni/bin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = deployment::FOLDER))]
    pub bin_dir: Option<String>,
    /// Folder of network configurations on nodes; absent: `/etc/cni/net.d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200), regex(pattern = deployment::FOLDER))]
    pub conf_dir: Option<String>,
    /// True: it is removed from all nodes. Set it, and wait until all nodes are done, before removing the whole field.
    #[serde(default)]
    pub remove: bool,
    /// Resource requests and limits of its container; absent: 1m of a CPU and 4 MiB. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
}

/// The node agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Its image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Log level or filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Port of its health probe.
    #[serde(default = "health_probe_port")]
    #[schemars(schema_with = "port")]
    pub health_probe_port: u16,
    /// Secret of type kubernetes.io/tls in the namespace of the pods, with the certificate of its metrics; absent: each
    /// agent creates a self-signed one. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub metrics_certificate: Option<String>,
    /// Resource requests and limits of its container; absent: 10m of a CPU and 25 MiB. An addition to the published
    /// API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
}

/// The daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSpec {
    /// Its image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Log level or filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// False: no volumes of maps for pods (CSI), and the daemon's container is not privileged. Absent: they are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi: Option<bool>,
    /// Image of the CSI registrar beside it; absent: the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_registrar_image: Option<String>,
    /// Resource requests and limits of its container; absent: 10m of a CPU and 64 MiB, without limits. An addition to
    /// the published API. The memory of all maps counts as its own: a memory limit has to include it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ContainerResources>,
}

/// An object that the operator would otherwise own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// For example `apps/v1`.
    pub api_version: String,
    /// For example `DaemonSet`.
    pub kind: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// True: the operator stops touching it.
    pub unmanaged: bool,
}

/// Status of the deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// Generation of the spec that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Available, Progressing and Degraded, then Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

fn health_probe_port() -> u16 {
    8175
}

fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "description": "Port of its health probe.",
        "minimum": 1,
        "maximum": 65535
    })
}

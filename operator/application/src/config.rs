//! The operator's own configuration: one object, named `bpfman-config`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::condition::conditions;

/// Name of the one object.
pub const CONFIG_NAME: &str = "bpfman-config";

/// What the operator deploys.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "Config",
    plural = "configs",
    status = "ConfigStatus",
    derive = "PartialEq",
    doc = "What the operator deploys: images, log levels, and the daemon's configuration file.",
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
    /// Whether a node keeps pods away, by the taint `bpfman.io/not-ready`, from its start until its programs are back.
    /// Absent: taints are left alone; false: this one is taken away wherever it is. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_taint: Option<bool>,
    /// The CNI plugin, which keeps a pod's first packet back until its programs are attached. Absent: nodes' network
    /// configurations are left alone. An addition to the published API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<CniSpec>,
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
    pub bin_dir: Option<String>,
    /// Folder of network configurations on nodes; absent: `/etc/cni/net.d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conf_dir: Option<String>,
    /// True: it is taken from all nodes. To be said, and done everywhere, before the whole field goes.
    #[serde(default)]
    pub remove: bool,
}

/// The node agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSpec {
    /// Its image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// How much it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Port of its health probe.
    #[serde(default = "health_probe_port")]
    #[schemars(schema_with = "port")]
    pub health_probe_port: u16,
}

/// The daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSpec {
    /// Its image.
    #[schemars(length(min = 1))]
    pub image: String,
    /// How much it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// False: no volumes of maps for pods (CSI), and the daemon's container is not privileged. Absent: they are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi: Option<bool>,
    /// Image of the CSI registrar beside it; absent: the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_registrar_image: Option<String>,
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

/// How the deployment is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// The generation that the conditions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Available, Progressing and Degraded, then Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// The agent's port unless the user says otherwise.
fn health_probe_port() -> u16 {
    8175
}

/// The schema of a port: the published one names no format.
fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "description": "Port of its health probe.",
        "minimum": 1,
        "maximum": 65535
    })
}

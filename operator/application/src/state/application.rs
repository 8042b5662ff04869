//! State objects. They have no spec, only a status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::node::NodeDetails;
use super::program::{ClusterProgramState, NamespacedProgramState};
use crate::condition::conditions;

/// Load state of an application's programs on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppLoadStatus {
    /// No attempt yet.
    NotLoaded,
    /// All programs are loaded.
    LoadSuccess,
    /// The daemon rejected the programs.
    LoadError,
    /// All programs are unloaded.
    UnloadSuccess,
    /// Some programs could not be unloaded.
    UnloadError,
    /// The node is not selected.
    NotSelected,
    /// The application's list of programs changed after they were loaded.
    ProgramListChangedError,
}

/// The fields of a cluster application's state beside its status: none.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "ClusterBpfApplicationState",
    plural = "clusterbpfapplicationstates",
    shortname = "cbpfappstate",
    category = "bpfman",
    no_spec,
    status = "ClusterBpfApplicationStateStatus",
    derive = "PartialEq",
    doc = "A ClusterBpfApplication on one node. Written by the node's agent.",
    selectable = ".status.node",
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[0].reason"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.kernel", priority = 1),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.observedRevision", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ClusterBpfApplicationStateFields {}

/// The fields of a namespaced application's state beside its status: none.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "BpfApplicationState",
    plural = "bpfapplicationstates",
    shortname = "bpfappstate",
    category = "bpfman",
    namespaced,
    no_spec,
    status = "BpfApplicationStateStatus",
    derive = "PartialEq",
    doc = "A BpfApplication on one node. Written by the node's agent.",
    selectable = ".status.node",
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[0].reason"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.kernel", priority = 1),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.observedRevision", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct BpfApplicationStateFields {}

/// Status of a cluster application on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterBpfApplicationStateStatus {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub node: NodeState,
    /// The programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ClusterProgramState>,
}

/// Status of a namespaced application on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BpfApplicationStateStatus {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub node: NodeState,
    /// The programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<NamespacedProgramState>,
}

/// Fields of both kinds of state objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    /// Grows by one with each update.
    pub update_count: i64,
    /// Name of the node.
    pub node: String,
    /// Load state of the programs.
    #[schemars(with = "String")]
    pub app_load_status: AppLoadStatus,
    /// One entry: Pending, Success, Error or Unloaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Additions to the published API.
    #[serde(flatten)]
    pub details: NodeDetails,
}

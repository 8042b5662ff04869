//! Applications: programs that belong together, for the whole cluster or for one namespace.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bytecode::ByteCode;
use super::condition::conditions;
use super::global_data;
use super::map_export::ExportedMap;
use super::pods::selector;
use super::program::{ClusterProgram, NamespacedProgram};
use super::rollout::{Rollout, RolloutStatus};
use super::summary::Summary;
use super::values::{self, EntriesByMap, GlobalTexts};

/// Maximum number of programs of one application, which is the daemon's limit for one load.
pub const MAX_PROGRAMS: usize = 64;

/// Spec of a cluster application: programs of one object, on the selected nodes.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "ClusterBpfApplication",
    plural = "clusterbpfapplications",
    shortname = "cbpfapp",
    category = "bpfman",
    status = "ApplicationStatus",
    derive = "PartialEq",
    doc = "eBPF programs of one object, loaded on selected nodes and attached anywhere on them.",
    printcolumn(name = "NodeSelector", type_ = "string", json_path = ".spec.nodeSelector"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[0].reason"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.summary.ready"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.rollout.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterBpfApplicationSpec {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub common: ApplicationCommon,
    /// The programs. The list and their links may change at any time.
    #[schemars(length(min = 1, max = 64))]
    pub programs: Vec<ClusterProgram>,
}

/// Spec of a namespaced application: programs of one object, attached within pods of its namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    crates(kube_core = "::kube_core"),
    group = "bpfman.io",
    version = "v1alpha1",
    kind = "BpfApplication",
    plural = "bpfapplications",
    shortname = "bpfapp",
    category = "bpfman",
    namespaced,
    status = "ApplicationStatus",
    derive = "PartialEq",
    doc = "eBPF programs of one object, loaded on selected nodes and attached within pods of this namespace.",
    printcolumn(name = "NodeSelector", type_ = "string", json_path = ".spec.nodeSelector"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[0].reason"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.summary.ready"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.rollout.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BpfApplicationSpec {
    /// Fields of both scopes.
    #[serde(flatten)]
    pub common: ApplicationCommon,
    /// The programs. The list and their links may change at any time.
    #[schemars(length(min = 1, max = 64))]
    pub programs: Vec<NamespacedProgram>,
}

/// Fields of both kinds of applications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationCommon {
    /// Nodes to load on; empty for all.
    #[schemars(schema_with = "selector")]
    pub node_selector: LabelSelector,
    /// Source of the programs.
    pub byte_code: ByteCode,
    /// Values of global variables: their bytes, as base64 or as a list, in the byte order of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "global_data::read")]
    #[schemars(schema_with = "bytes_by_name")]
    pub global_data: Option<BTreeMap<String, ByteString>>,
    /// Values of global variables by their type, as text: `100`, `true`, `eth0`, `[80, 443]`, `{"rate": 5}`. Elements
    /// and fields that a value does not name keep the value from the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "values::texts_by_name")]
    pub globals: Option<GlobalTexts>,
    /// Maximum number of entries of maps, instead of what the object declares; for a ring buffer, its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "values::entries_by_name")]
    pub map_sizes: Option<EntriesByMap>,
    /// Accepted and not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector")]
    pub map_owner_selector: Option<LabelSelector>,
    /// Maps that pods may mount. Absent: all maps, but only by pods in a BpfApplication's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub map_exports: Option<Vec<ExportedMap>>,
    /// Rollout of changes to the nodes; absent: all nodes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// Leaves the type of values open; [`crate::global_data`] checks it. If the schema declared text, API servers
/// would accept a list but reject every later server-side apply.
fn bytes_by_name(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true }
    })
}

/// Result of an application over all nodes: the type of its first condition, with the names of the published API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplicationVerdict {
    /// Nodes have not yet applied the spec, or a rollout is in progress.
    Pending,
    /// Loaded and attached on every selected node.
    Success,
    /// Failed on a node, or the rollout failed.
    Error,
    /// In deletion, while a node still has some of its programs.
    DeleteError,
}

impl ApplicationVerdict {
    const ALL: [Self; 4] = [Self::Pending, Self::Success, Self::Error, Self::DeleteError];

    /// Returns the condition type, which is its reason too.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Success => "Success",
            Self::Error => "Error",
            Self::DeleteError => "DeleteError",
        }
    }
}

/// Status of an application over all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// First the verdict: Pending, Success, Error or DeleteError. Then Ready, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Numbers of nodes by state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Status of the rollout, if the spec requests one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
}

impl ApplicationStatus {
    /// Returns the verdict and its condition, or `None` until a controller has processed the application.
    #[must_use]
    pub fn verdict(&self) -> Option<(ApplicationVerdict, &Condition)> {
        self.conditions.iter().find_map(|condition| {
            let verdict =
                ApplicationVerdict::ALL.into_iter().find(|verdict| verdict.text() == condition.type_)?;
            Some((verdict, condition))
        })
    }
}

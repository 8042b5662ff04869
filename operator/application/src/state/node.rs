//! Information about the node in a state object. Additions to the published API, all optional.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::PreflightVerdict;

/// Details of a node, and of the revision that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeDetails {
    /// Generation of the application, or revision that the controller ordered, to which this status applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_revision: Option<String>,
    /// Kernel release, as `uname -r` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The boot in which this was written: the kernel's `boot_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// Digest of the image that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Hash over the programs that share hooks with this application here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composition: Option<String>,
    /// Failure of the node, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<NodeFailure>,
    /// Attachments whose selector matches no pod or container on this node: `PROGRAM: FIELD`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
    /// The answer to the controller's order to load and discard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<PreflightAnswer>,
    /// The answer to the controller's order to watch the gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthAnswer>,
    /// Hooks whose timing or counters were switched on to watch the gates, with their previous settings. The
    /// agent restores them when the gates are no longer watched, also after its restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switched: Vec<SwitchedHook>,
}

/// A hook as it was before its timing or counters were switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchedHook {
    /// `xdp`, `tc` or `tcx`.
    pub kind: String,
    /// Interface.
    pub interface: String,
    /// `ingress` or `egress`; absent for XDP.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub direction: String,
    /// Path of the network namespace's file; absent: the daemon's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns: String,
    /// True if timing was on.
    #[serde(default)]
    pub timing: bool,
    /// True if counters were on.
    #[serde(default)]
    pub counters: bool,
}

/// The first thing that failed on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFailure {
    /// The kind, as the daemon names it: `kernel-refused`, `signature`, `not-found`, ...
    pub reason: String,
    /// Program that failed; empty if all did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Failed action, its object and the reason; at most 1,024 bytes.
    pub message: String,
    /// Hint: the next step for the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// Result of a preflight: a revision that was loaded and discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightAnswer {
    /// The revision.
    pub revision: String,
    /// Result.
    pub verdict: PreflightVerdict,
    /// Of a failure, the most relevant line of the verifier log or the error; of a success, the cost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Digest of the image that was loaded; absent if it came from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Instructions that the verifier walked through, over all programs and chains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_instructions: Option<i64>,
}

/// Compliance of the programs with the gates. Written when it is first known and when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthAnswer {
    /// The revision.
    pub revision: String,
    /// True if every gate holds.
    pub within: bool,
    /// The measurements, or the gate that was exceeded and by how much.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

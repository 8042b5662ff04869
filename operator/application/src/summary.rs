//! Summary of an application over all nodes, part of its status. An addition to the published API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers of nodes by state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Nodes that the application selects and that run an agent.
    pub wanted: i32,
    /// Of these, the ones that run the current revision.
    pub updated: i32,
    /// Of these, the ones where everything is loaded and attached.
    pub healthy: i32,
    /// Of these, the ones where something failed.
    pub failed: i32,
    /// `healthy/wanted`, for tables.
    pub ready: String,
    /// Failures by cause and kernel, the most frequent first; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<FailureCause>,
}

/// Nodes that fail for the same reason on the same kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureCause {
    /// The kind of failure, as the daemon names it: `kernel-refused`, `signature`, `not-found`, ...
    pub reason: String,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Number of nodes.
    pub nodes: i32,
    /// Name of one of them, as an example.
    pub example: String,
    /// Failure as text; of a rejection by the verifier, the most relevant line of its log.
    pub message: String,
}

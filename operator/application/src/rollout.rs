//! Rollout of a change to the nodes: in waves, monitored, with automatic rollback. An addition to the published API.
//!
//! With a rollout, a node applies only the revision that the controller assigned to it ([`crate::orders`]).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Rollout of changes to the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Number of selected nodes that have the new revision after each wave: counts or percentages, ascending. The
    /// remaining nodes after the last one are a wave, too. Empty: one wave with all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub waves: Vec<IntOrString>,
    /// Maximum number of nodes that are changing or unhealthy at a time; absent: as many as the wave has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub max_unavailable: Option<IntOrString>,
    /// No further node is changed while this is true.
    #[serde(default)]
    pub paused: bool,
    /// After each wave, wait for `bpfman.io/rollout: promote` on the application.
    #[serde(default)]
    pub manual: bool,
    /// Seconds for which a wave has to stay healthy before the next one.
    #[serde(default)]
    #[schemars(range(max = 86400))]
    pub soak_seconds: u32,
    /// Seconds after which a wave that is not healthy counts as failed.
    #[serde(default = "progress_deadline")]
    #[schemars(range(min = 1, max = 86400))]
    pub progress_deadline_seconds: u32,
    /// Maximum number of failed nodes of a wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub max_failed: Option<IntOrString>,
    /// Bounds on what the programs do while a wave soaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// Preflight: one node of each group loads and discards the revision before the first wave.
    #[serde(default)]
    pub preflight: Preflight,
    /// Action when a wave fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

fn amount(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A number of nodes, or a percentage of those selected.",
        "x-kubernetes-int-or-string": true,
        "pattern": "^(100|[0-9]{1,2})%$"
    })
}

fn amounts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "How many of the selected nodes have the new revision after each wave, growing; what is left after the last one is a wave too. Empty: one wave with all nodes.",
        "maxItems": 32,
        "items": { "x-kubernetes-int-or-string": true, "pattern": "^(100|[0-9]{1,2})%$" }
    })
}

fn progress_deadline() -> u32 {
    300
}

/// Preflight on one node of each kernel and chain composition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preflight {
    /// Before the first wave; a group that fails stops the rollout.
    #[default]
    Always,
    /// Not at all.
    Never,
}

/// Action when a wave fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Every node goes back to the last revision that reached all of them.
    #[default]
    Rollback,
    /// No further node is changed until a user promotes or aborts.
    Pause,
}

/// Bounds on each program's own slot, over the soak time of a wave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gates {
    /// Mean sampled time per packet or event, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_nanoseconds_per_run: Option<u32>,
    /// Shares of packets by verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub verdicts: Vec<VerdictGate>,
    /// Errors of the attachment or its chain: aborted packets, lost tail calls, links that came off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<u32>,
    /// Minimum number of packets: with fewer, the gates on time and verdicts count as passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_runs: Option<u32>,
}

/// The share of packets that may, or must, get a verdict from a program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictGate {
    /// Function name; absent: every program of the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Name of the verdict as chains show it, for example `drop`.
    #[schemars(length(min = 1, max = 32))]
    pub verdict: String,
    /// At least this many of a hundred packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_percent: Option<i32>,
    /// At most this many of a hundred packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: Option<i32>,
}

/// Status of a rollout. Part of an application's status, written by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Phase of the rollout.
    pub phase: RolloutPhase,
    /// Revision that is being rolled out; absent if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_revision: Option<String>,
    /// The last revision that reached every selected node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_revision: Option<String>,
    /// A revision that failed, which is not tried again until the spec changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_revision: Option<String>,
    /// Number of the wave, counted from 1; 0 before the first.
    #[serde(default)]
    pub wave: i32,
    /// Number of waves.
    #[serde(default)]
    pub waves: i32,
    /// Start of this wave or phase, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Time since which every node of the wave is healthy, RFC 3339: the soak time begins here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<String>,
    /// Reason of the phase, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Condition that a wave waits for and that is no failure; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// Results of the preflight; at most 64 groups, failures first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preflight: Vec<PreflightGroup>,
    /// Digest of the image that is being rolled out, once a node has resolved it. Every further node gets this one,
    /// even if the tag moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Time of the last order to a node in this wave or phase, RFC 3339: the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_at: Option<String>,
    /// Nodes beyond `maxFailed` that a user accepted as failed by promoting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerated: i32,
    /// A user promoted despite a failed preflight: it is not repeated in this rollout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preflight_waived: bool,
    /// Number of the last `promote` or `abort` that was acted on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Phases of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Every selected node has the stable revision.
    #[default]
    Idle,
    /// One node of each group tries the revision.
    Preflight,
    /// The nodes of a wave change.
    Progressing,
    /// All nodes of a wave are healthy, and have to stay so.
    Soaking,
    /// A wave is complete and waits for `promote`.
    AwaitingPromotion,
    /// Paused by a user.
    Paused,
    /// The rollout failed, and nodes roll back.
    RollingBack,
    /// The rollout failed, and waits for `promote` or `abort`.
    Failed,
}

/// Conditions that a wave may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitsFor {
    /// The deadline is suspended, because more nodes are away than a first wave has.
    NodesAway,
}

/// One group of nodes in a preflight: the same kernel, and the same programs at the hooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightGroup {
    /// Kernel release, as `uname -r` prints it.
    pub kernel: String,
    /// Hash over the programs that share the hooks; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub composition: String,
    /// Nodes in the group.
    pub nodes: i32,
    /// Node that runs the preflight.
    pub node: String,
    /// Result.
    pub verdict: PreflightVerdict,
    /// Text: of a failure, the most relevant line; of a success, the cost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Results of a preflight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreflightVerdict {
    /// Not answered yet.
    #[default]
    Pending,
    /// The revision builds and loads.
    Passed,
    /// The revision does not load.
    Failed,
}

//! Rollout of a change to the nodes: in waves, monitored, with automatic rollback. An addition to the published API.
//!
//! Without [`Rollout`] every node applies the application's spec at once. With it, a node applies only the revision
//! that the controller assigned to it ([`crate::orders`]).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// How a change reaches the nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How many of the selected nodes have the new revision after each wave: counts or percentages, growing. Whatever
    /// is left after the last one is a wave too. Empty: one wave with all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "amounts")]
    pub waves: Vec<IntOrString>,
    /// How many nodes may be in change or unhealthy at a time; absent: as many as the wave has.
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
    /// How many failed nodes a wave may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "amount")]
    pub max_failed: Option<IntOrString>,
    /// Bounds on what the programs do while a wave soaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Gates>,
    /// Whether one node of each group loads and discards the revision before the first wave.
    #[serde(default)]
    pub preflight: Preflight,
    /// What happens when a wave fails.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Returns the schema of a number of nodes: a count, or a percentage of the selected nodes.
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

/// Returns the default progress deadline, in seconds.
fn progress_deadline() -> u32 {
    300
}

/// Whether one node of each kernel and chain composition tries a revision first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preflight {
    /// Before the first wave; a group that fails stops the rollout.
    #[default]
    Always,
    /// Not at all.
    Never,
}

/// What happens when a wave fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Every node goes back to the last revision that reached all of them.
    #[default]
    Rollback,
    /// Nothing more is changed until someone promotes or aborts.
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
    /// Fewer packets than this say nothing: the gates on time and verdicts then hold.
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

/// Where a rollout is. Part of an application's status, written by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is going on.
    pub phase: RolloutPhase,
    /// The revision that is going out; absent when nothing is.
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
    /// How many waves there are.
    #[serde(default)]
    pub waves: i32,
    /// When this wave or phase began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When every node of the wave was healthy, RFC 3339: the soak counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<String>,
    /// Why it is where it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What a wave waits for that is nobody's failure; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<WaitsFor>,
    /// What the nodes said that tried the revision first; at most 64 groups, failures before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preflight: Vec<PreflightGroup>,
    /// Digest of the image that is going out, once a node has named it. Every further node gets this one, whatever
    /// becomes of the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When a node was last told something in this wave or phase, RFC 3339: the deadline counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_at: Option<String>,
    /// Nodes beyond `maxFailed` that someone accepted as failed by promoting.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerated: i32,
    /// Someone promoted although the preflight failed: it is not asked again in this rollout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preflight_waived: bool,
    /// Number of the last `promote` or `abort` that was acted on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command: i32,
}

/// Returns whether a number is zero, so that it is not serialized.
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// What a rollout is doing.
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
    /// A wave is through; someone has to promote.
    AwaitingPromotion,
    /// Someone paused it.
    Paused,
    /// It failed, and nodes go back.
    RollingBack,
    /// It failed, and stays as it is until someone says what to do.
    Failed,
}

/// What a wave may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WaitsFor {
    /// More nodes are away than a first wave has: the deadline does not run.
    NodesAway,
}

/// One group of nodes in a preflight: the same kernel, and the same programs at the hooks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreflightGroup {
    /// As `uname -r` prints it.
    pub kernel: String,
    /// Hash over the programs that share the hooks; empty where there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub composition: String,
    /// Nodes in the group.
    pub nodes: i32,
    /// The node that tries.
    pub node: String,
    /// What came out.
    pub verdict: PreflightVerdict,
    /// Of a failure, its first telling line; of a success, the cost, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a preflight said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreflightVerdict {
    /// Not answered yet.
    #[default]
    Pending,
    /// It builds and loads.
    Passed,
    /// It does not.
    Failed,
}

//! Order of an attachment among others, and behaviour if it cannot be made: optional additions to the published API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Place in a chain by intent. Intents win over priorities.
///
/// An anchor is a program's function name, `role=NAME`, or `foreign:NAME` for a program of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkOrder {
    /// Role of this program, for the intents of other programs; for example `firewall`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub role: Option<String>,
    /// Runs before these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub before: Vec<String>,
    /// Runs after these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub after: Vec<String>,
}

/// Treatment of a pod whose attachment fails when it starts. Only where the CNI plugin is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnUnavailable {
    /// It starts without the program.
    #[default]
    Open,
    /// It does not start.
    Closed,
    /// It starts with the version that last worked on its node; without one it does not start.
    LastKnown,
}

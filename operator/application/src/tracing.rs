//! Fentry and fexit attachments, which are bound to one kernel function at load.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;

/// A kernel function, and whether the program is attached to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tracing {
    /// Kernel function.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: String,
    /// One entry attaches it; none leaves it loaded only. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1))]
    pub links: Vec<TracingLink>,
}

/// Request to attach the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracingLink {
    /// Always `Attach`.
    pub mode: AttachMode,
}

/// The only mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AttachMode {
    /// Attached.
    Attach,
}

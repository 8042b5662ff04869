//! Custom resources with only the fields that the controller reads, as in [`bpfman_runtime::wire`].

use bpfman_application::state::node::{HealthAnswer, NodeFailure, PreflightAnswer};
use bpfman_runtime::wire::{Wire, WireCondition};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Application of either scope. Its parts stay unparsed: the spec goes into revisions as a whole.
pub type WireApplication = Wire<Value, Value>;

/// State object of either scope.
pub type WireState = Wire<IgnoredAny, StateStatus>;

/// Needed fields of a state object's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateStatus {
    pub node: String,
    pub app_load_status: String,
    /// Conditions; agents write one.
    pub conditions: Vec<WireCondition>,
    /// Generation or revision to which the status applies.
    pub observed_revision: Option<String>,
    /// Kernel release, as printed by `uname -r`.
    pub kernel: Option<String>,
    /// Boot in which the status was written.
    pub boot_id: Option<String>,
    /// Digest of the image that runs.
    pub digest: Option<String>,
    /// Hash of the programs that share hooks.
    pub composition: Option<String>,
    /// Failure of a program or an attachment.
    #[serde(deserialize_with = "lenient")]
    pub failure: Option<NodeFailure>,
    /// Attachments with a selector that matches nothing on the node.
    pub unmatched: Vec<String>,
    /// Answer to a preflight order.
    #[serde(deserialize_with = "lenient")]
    pub preflight: Option<PreflightAnswer>,
    /// Answer to the order to watch the gates.
    #[serde(deserialize_with = "lenient")]
    pub health: Option<HealthAnswer>,
}

/// Reads a value; a form that an agent of another version wrote counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

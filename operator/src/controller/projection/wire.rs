//! Objects of ours as they are read from the API server: only the fields that the controller reads, as
//! [`bpfman_runtime::wire`] does it.

use bpfman_application::state::node::{HealthAnswer, NodeFailure, PreflightAnswer};
use bpfman_runtime::wire::{Wire, WireCondition};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An application of either kind. Its parts stay as they are: the spec goes into revisions as a whole.
pub type WireApplication = Wire<Value, Value>;

/// A state object of either kind.
pub type WireState = Wire<IgnoredAny, StateStatus>;

/// Of the status of a state object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateStatus {
    /// Name of the node.
    pub node: String,
    /// Whether the programs are loaded.
    pub app_load_status: String,
    /// How it is doing.
    pub conditions: Vec<WireCondition>,
    /// What the status is about.
    pub observed_revision: Option<String>,
    /// As `uname -r` prints it.
    pub kernel: Option<String>,
    /// The boot in which it was written.
    pub boot_id: Option<String>,
    /// Digest of the image that runs.
    pub digest: Option<String>,
    /// Hash over the programs that share hooks.
    pub composition: Option<String>,
    /// What failed.
    #[serde(deserialize_with = "lenient")]
    pub failure: Option<NodeFailure>,
    /// Attachments whose selector means nothing there.
    pub unmatched: Vec<String>,
    /// The answer to the order to load and discard.
    #[serde(deserialize_with = "lenient")]
    pub preflight: Option<PreflightAnswer>,
    /// The answer to the order to watch the gates.
    #[serde(deserialize_with = "lenient")]
    pub health: Option<HealthAnswer>,
}

/// What an agent of another version says in another way counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(from)?).ok())
}

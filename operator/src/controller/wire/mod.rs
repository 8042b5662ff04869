//! Objects as they are read from the API server: only the fields that the controller looks at.
//!
//! What is not named here is skipped while parsing and never allocated; managed fields alone are half of a state
//! object. Everything is optional text, so that an object of a newer or older version is read too: one object that
//! cannot be parsed would stop the list of all.

mod meta;

use std::borrow::Cow;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::discovery::ApiResource;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// An object with a part of its spec and of its status.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "Spec: DeserializeOwned, Status: DeserializeOwned"))]
pub struct Wire<Spec, Status> {
    /// The fields of the metadata that matter here.
    #[serde(deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    /// What is read of the spec.
    #[serde(default = "none")]
    pub spec: Option<Spec>,
    /// What is read of the status.
    #[serde(default = "none")]
    pub status: Option<Status>,
}

/// Absent. A function, since `default` alone would ask the type for a default.
fn none<T>() -> Option<T> {
    None
}

impl<Spec, Status> kube::Resource for Wire<Spec, Status> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }
    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }
    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }
    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }
    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// An application of either kind. Its parts stay as they are: the spec goes into revisions as a whole.
pub type WireApplication = Wire<serde_json::Value, serde_json::Value>;

/// A state object of either kind.
pub type WireState = Wire<Nothing, StateStatus>;

/// A node.
pub type WireNode = Wire<NodeSpec, NodeStatus>;

/// A pod of the agent.
pub type WirePod = Wire<PodSpec, PodStatus>;

/// Skipped.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Nothing {
    /// Takes no room.
    #[serde(skip)]
    _nothing: PhantomData<()>,
}

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
    pub failure: Option<WireFailure>,
    /// Attachments whose selector means nothing there.
    pub unmatched: Vec<String>,
    /// The answer to the order to load and discard.
    pub preflight: Option<WirePreflight>,
    /// The answer to the order to watch the gates.
    pub health: Option<WireHealth>,
}

/// Of a condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireCondition {
    /// Which one.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// For people.
    pub message: String,
    /// The generation of the application that it is about.
    pub observed_generation: Option<i64>,
}

/// Of a failure.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireFailure {
    /// The kind.
    pub reason: String,
    /// Program that failed.
    pub program: String,
    /// What failed, on what and why.
    pub message: String,
}

/// Of the answer to a preflight.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WirePreflight {
    /// The revision.
    pub revision: String,
    /// What came out.
    pub verdict: String,
    /// Why, or what it costs.
    pub message: String,
    /// Digest of the image that was loaded.
    pub digest: Option<String>,
}

/// Of the answer about the gates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireHealth {
    /// The revision.
    pub revision: String,
    /// Whether every gate holds.
    pub within: bool,
    /// The figures.
    pub message: String,
}

/// Of the spec of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Which pods it keeps away.
    pub taints: Vec<WireTaint>,
}

/// Of a taint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireTaint {
    /// Its key.
    pub key: String,
    /// What it does to pods.
    pub effect: String,
}

/// Of the status of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// What the kubelet found out.
    pub node_info: NodeInfo,
    /// How it is doing.
    pub conditions: Vec<WireCondition>,
}

/// Of what the kubelet found out about its machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    /// As `uname -r` prints it.
    pub kernel_version: String,
    /// The boot. Kubernetes writes it in capitals.
    #[serde(rename = "bootID")]
    pub boot_id: String,
}

/// Of the spec of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Where it runs.
    pub node_name: String,
}

/// Of the status of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// How it is doing.
    pub conditions: Vec<WireCondition>,
}

/// Whether a condition is there and true.
#[must_use]
pub fn is_true(conditions: &[WireCondition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

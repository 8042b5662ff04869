//! Objects of the API server, reduced to the fields that this operator reads.
//!
//! Other fields are never allocated; managed fields alone are half of a state object. All fields are optional text: one
//! object that cannot be parsed would fail the whole list.

mod meta;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::discovery::ApiResource;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// Object with parts of its spec and status.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "Spec: DeserializeOwned, Status: DeserializeOwned"))]
pub struct Wire<Spec, Status> {
    /// Metadata, reduced to the fields in use.
    #[serde(deserialize_with = "meta::lean")]
    pub metadata: ObjectMeta,
    #[serde(default = "none")]
    pub spec: Option<Spec>,
    #[serde(default = "none")]
    pub status: Option<Status>,
}

/// A function, because plain `default` would require a default of the type.
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

pub type WireNode = Wire<WireNodeSpec, WireNodeStatus>;

pub type WirePod = Wire<WirePodSpec, WirePodStatus>;

/// Condition of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireCondition {
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub message: String,
    /// Generation of the application that the condition describes.
    pub observed_generation: Option<i64>,
}

/// Returns whether a condition exists and is true.
#[must_use]
pub fn is_true(conditions: &[WireCondition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireNodeSpec {
    pub taints: Vec<WireTaint>,
}

/// Taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WireTaint {
    pub key: String,
    /// Value of the taint, empty if it has none.
    pub value: String,
    /// Effect of the taint on pods.
    pub effect: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireNodeStatus {
    /// Facts that the kubelet reported.
    pub node_info: NodeInfo,
    pub conditions: Vec<WireCondition>,
    pub addresses: Vec<NodeAddress>,
}

/// Facts that the kubelet reported about its machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    /// Kernel release, as `uname -r` prints it.
    pub kernel_version: String,
    /// Boot id; the field is `bootID` in Kubernetes.
    #[serde(rename = "bootID")]
    pub boot_id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `Hostname`, ...
    #[serde(rename = "type")]
    pub address_type: String,
    pub address: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WirePodSpec {
    pub node_name: String,
    /// True if the pod shares the node's network namespace.
    pub host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WirePodStatus {
    /// `Running`, ...
    pub phase: String,
    pub conditions: Vec<WireCondition>,
    pub container_statuses: Vec<ContainerStatus>,
    /// Init containers; sidecars among them keep running.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Ephemeral containers, added for debugging.
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    pub name: String,
    /// Id with the runtime's prefix, which changes at each start.
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Present if the container runs.
    pub running: Option<IgnoredAny>,
}

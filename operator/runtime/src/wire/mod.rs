//! Objects as they are read from the API server: only the fields that somebody here reads.
//!
//! What is not named here is skipped while parsing and never allocated; managed fields alone are half of a state
//! object. Everything is optional text, so that an object of a newer or older version is read too: one object that
//! cannot be parsed would stop the list of all.

mod meta;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::discovery::ApiResource;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

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

/// A node.
pub type WireNode = Wire<WireNodeSpec, WireNodeStatus>;

/// A pod.
pub type WirePod = Wire<WirePodSpec, WirePodStatus>;

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

/// Whether a condition is there and true.
#[must_use]
pub fn is_true(conditions: &[WireCondition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Of the spec of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireNodeSpec {
    /// Which pods it keeps away.
    pub taints: Vec<WireTaint>,
}

/// Of a taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WireTaint {
    /// Its key.
    pub key: String,
    /// Its value, if it has one.
    pub value: String,
    /// What it does to pods.
    pub effect: String,
}

/// Of the status of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireNodeStatus {
    /// What the kubelet found out.
    pub node_info: NodeInfo,
    /// How it is doing.
    pub conditions: Vec<WireCondition>,
    /// Addresses with their types.
    pub addresses: Vec<NodeAddress>,
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

/// An address of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `Hostname`, ...
    #[serde(rename = "type")]
    pub address_type: String,
    /// As text.
    pub address: String,
}

/// Of the spec of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WirePodSpec {
    /// Where it runs.
    pub node_name: String,
    /// It shares the node's network namespace.
    pub host_network: bool,
}

/// Of the status of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WirePodStatus {
    /// `Running`, ...
    pub phase: String,
    /// How it is doing.
    pub conditions: Vec<WireCondition>,
    /// Its containers.
    pub container_statuses: Vec<ContainerStatus>,
    /// Those that run before the others; some of them go on running.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Those that somebody added for debugging.
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// Of the status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Its name in the pod.
    pub name: String,
    /// Its id, with the runtime's prefix. Another one after each start.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Whether it runs.
    pub state: ContainerState,
}

/// Of the state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Present if it runs.
    pub running: Option<IgnoredAny>,
}

//! Attachments to kernel functions, trace points and user-space functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;
use super::pods::{ClusterContainerSelector, ContainerSelector};

/// Attachments of a kprobe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kprobe {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<KprobeLink>,
}

/// A kernel function, and an offset in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KprobeLink {
    /// Kernel function.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: String,
    /// Bytes from the function's start.
    #[serde(default)]
    pub offset: i64,
}

/// Attachments of a kretprobe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kretprobe {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<KretprobeLink>,
}

/// A kernel function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KretprobeLink {
    /// Kernel function.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: String,
}

/// Attachments of a tracepoint program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tracepoint {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<TracepointLink>,
}

/// A trace point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracepointLink {
    /// For example `syscalls/sys_enter_openat`.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
}

/// Attachments of a uprobe or uretprobe of a cluster application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterUprobe {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ClusterUprobeLink>,
}

/// Attachments of a uprobe or uretprobe of a namespaced application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Uprobe {
    /// Where to attach; loaded but not attached if empty. May change at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<UprobeLink>,
}

/// A user-space function, on the node or in containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterUprobeLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: UprobePoint,
    /// In these containers; absent: on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<ClusterContainerSelector>,
}

/// A user-space function in containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UprobeLink {
    /// What both scopes have.
    #[serde(flatten)]
    pub point: UprobePoint,
    /// In these containers.
    pub containers: ContainerSelector,
}

/// A user-space function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UprobePoint {
    /// Function; absent: the offset counts from the start of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: Option<String>,
    /// Bytes from the function's start.
    #[serde(default)]
    pub offset: i64,
    /// Path of a program or library, or a library's name.
    pub target: String,
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

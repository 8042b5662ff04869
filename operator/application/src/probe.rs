//! Attachments to kernel functions, tracepoints and user-space functions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name;

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

/// A kernel function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KretprobeLink {
    /// Kernel function.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub function: String,
}

/// A trace point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TracepointLink {
    /// For example `syscalls/sys_enter_openat`.
    #[schemars(length(min = 1, max = 64), regex(pattern = name::NAME))]
    pub name: String,
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

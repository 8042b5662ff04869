//! Functions and USDT probes of user-space binaries.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pods::ClusterContainerSelector;

/// Many functions of one binary, by one link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UprobeMultiPoint {
    /// Path of a program or library, or a library's name.
    #[schemars(length(min = 1, max = 4096))]
    pub target: String,
    /// Names of the functions.
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 1024)))]
    pub functions: Vec<String>,
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pid: Option<i32>,
}

/// Functions of one binary, in containers or on the node.
pub type UprobeMultiLink = InContainers<UprobeMultiPoint>;

/// A USDT probe, at all places that the binary's notes name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsdtPoint {
    /// Path of a program or library, or a library's name.
    #[schemars(length(min = 1, max = 4096))]
    pub target: String,
    /// Provider of the probe.
    #[schemars(length(min = 1, max = 256))]
    pub provider: String,
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Only this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pid: Option<i32>,
}

/// USDT probe, in containers or on the node.
pub type UsdtLink = InContainers<UsdtPoint>;

/// An attach point in a binary, whose path is resolved in containers or on the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InContainers<P> {
    /// The attach point.
    #[serde(flatten)]
    pub point: P,
    /// In these containers; absent: on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<ClusterContainerSelector>,
}

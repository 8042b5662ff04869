//! Attach points in cgroups of version 2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::place::LinkOrder;

/// A cgroup, and the place among the programs of its hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLink {
    /// The group.
    #[serde(flatten)]
    pub point: CgroupPoint,
    /// Place by intent; on nodes with Linux 6.17 and later, or a recent release of 6.12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<LinkOrder>,
}

/// A cgroup, and all cgroups below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupPoint {
    /// From the root of the hierarchy (`/system.slice/web.service`), or as the node's file system has it
    /// (`/sys/fs/cgroup/system.slice/web.service`). `/` is all tasks of the node.
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^/"))]
    pub path: String,
}

//! Control groups of version 2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A control group, and all groups below it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLink {
    /// From the root of the hierarchy (`/system.slice/web.service`), or as the node's file system has it
    /// (`/sys/fs/cgroup/system.slice/web.service`). `/` is all tasks of the node.
    #[schemars(length(min = 1, max = 4096), regex(pattern = r"^/"))]
    pub path: String,
}

//! Tasks for which a guarded program runs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Tasks of one tenant, by values that are unique within a boot: compiled tests compare the current task with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum TaskGroup {
    /// Tasks in a cgroup (version 2), or below it.
    ControlGroup {
        /// Depth below the root of the hierarchy, which has 0.
        level: u32,
        /// 64-bit id of the kernel, which is never reused.
        id: u64,
    },
    /// Tasks in a PID namespace itself. The start of its first process makes its inode unique.
    PidNamespace {
        /// Inode.
        inode: u32,
        /// Start of its first process, in ticks of 10 ms since boot.
        began: u64,
    },
}

/// Cgroup of a caller. Programs of a grant with a scope run only for its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerGroup {
    /// Path in the hierarchy of version 2.
    pub path: String,
    /// The same cgroup by its id, as of the time when the caller connected: a later cgroup may get the path.
    pub tasks: TaskGroup,
    /// User id of the caller, whose programs skip other users' tasks; `None` for a pod, which is one tenant.
    pub user: Option<u32>,
}

/// Tasks that a tenant's program may observe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskScope {
    /// Tasks of the container that each attachment names.
    Container,
    /// Tasks in the cgroup of the caller that attaches it.
    Caller,
}

/// Guard of a tenant's programs, and the functions that they may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRules {
    /// Tasks that they may see.
    pub scope: TaskScope,
    /// Helpers and kernel functions that they may call in addition to those of all tenants, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub helpers: BTreeSet<String>,
}

impl TenantRules {
    /// Returns the rules of namespaced applications.
    #[must_use]
    pub const fn of_containers() -> Self {
        Self { scope: TaskScope::Container, helpers: BTreeSet::new() }
    }

    /// Returns these rules without the helpers that other rules do not allow.
    #[must_use]
    pub fn narrowed_by(mut self, others: Option<&Self>) -> Self {
        if let Some(others) = others {
            self.helpers.retain(|helper| others.helpers.contains(helper));
        }
        self
    }
}

/// Tasks of a container, by one of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerTasks {
    /// Tasks of the container.
    pub tasks: TaskGroup,
    /// Start of that process, in ticks of 10 ms since boot: its PID may later be that of another one.
    pub began: u64,
}

//! For whose tasks a guarded program runs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Tasks of one tenant, in words that the kernel never uses for others within one boot: a compiled test compares the
/// current task with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum TaskGroup {
    /// Tasks in a control group of version 2, or in one below it.
    ControlGroup {
        /// Steps from the root of the hierarchy, which is at 0.
        level: u32,
        /// The kernel's 64-bit id, which is never given again.
        id: u64,
    },
    /// Tasks in a process namespace, not in those below it. Its inode is given again after its end: the beginning of its
    /// first process tells it from later ones.
    PidNamespace {
        /// Inode.
        inode: u32,
        /// When its first process began, in ticks of 10 ms since boot.
        began: u64,
    },
}

/// The cgroup of a caller: programs of a grant with a scope run for its tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerGroup {
    /// Path in the hierarchy of version 2.
    pub path: String,
    /// The same cgroup by its id, as of the time when the caller connected: a later cgroup may get the path.
    pub tasks: TaskGroup,
    /// User id of the caller: its programs do not run for tasks with the rights of another user. None for a pod, which is one
    /// tenant with all its users.
    pub user: Option<u32>,
}

/// Whose tasks a tenant's program may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskScope {
    /// Those of the container that each attachment names.
    Container,
    /// Those of the control group of whoever attaches it.
    Caller,
}

/// What a tenant's programs get in front, and what they may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRules {
    /// Whose tasks they see.
    pub scope: TaskScope,
    /// Helpers and kernel functions that they may call besides those that all tenants may, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub helpers: BTreeSet<String>,
}

impl TenantRules {
    /// Those of namespaced applications.
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

/// A container's tasks, by one of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerTasks {
    /// The tasks.
    pub tasks: TaskGroup,
    /// When that process began, in ticks of 10 ms since boot: another one may get its number later.
    pub began: u64,
}

//! Records of guards: programs of tenants, and the tasks for which each of their links lets them run.

use bpfman_model::{MapId, ProcessIdentity, ProcessScope, TaskGroup, TenantRules};
use serde::{Deserialize, Serialize};

/// Guard of a tenant's program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramGuard {
    /// Rules of the program, which also apply when it is loaded again.
    pub rules: TenantRules,
    /// Map that the guard reads, as of this boot; `None` for types that do not run in a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<MapId>,
    /// True if the guard can distinguish tasks by their pid namespace.
    #[serde(default)]
    pub namespaces: bool,
    /// True if the guard can distinguish tasks by their credentials.
    #[serde(default)]
    pub credentials: bool,
    /// True if the guard lets a tcx program return only NEXT or DROP. False for programs that earlier versions loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrowed: bool,
    /// True if its instructions call `bpf_clone_redirect`; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clones: Option<bool>,
    /// True if its loops and tail calls are within the bounds; false in records of earlier versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_bounded: bool,
    /// Reason why they exceed the bounds, if the program was loaded again because an earlier version had accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unbounded: Option<String>,
    /// True if the verifier accepted it for a loader without CAP_PERFMON. Records of earlier versions have false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_perfmon: bool,
    /// Maximum number of instructions of one run; `None` in records of earlier versions, and on kernels before 5.16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// Tasks for which a link lets its program run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGuard {
    /// Index in the program's map, which is also the cookie of the link.
    pub index: u32,
    /// Tasks, with ids of the boot in which the link was attached.
    pub tasks: TaskGroup,
    /// User id: tasks with credentials of any other user are excluded. `None` for containers and earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Way in which the tasks were found.
    pub found_by: FoundBy,
    /// The process whose return addresses a return probe changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_of: Option<ProcessScope>,
    /// Start of that process, in ticks of 10 ms since boot. `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_began: Option<u64>,
}

impl LinkGuard {
    /// Returns the processes that were found to be the tenant's, with their start times.
    pub fn checked_processes(&self) -> impl Iterator<Item = ProcessIdentity> {
        let container = match self.found_by {
            FoundBy::Process { pid, began } => Some(ProcessIdentity { pid, began }),
            FoundBy::Group { .. } => None,
        };
        let returns_of = self.returns_of.as_ref().and_then(|scope| scope.pid).zip(self.returns_began);
        container.into_iter().chain(returns_of.map(|(pid, began)| ProcessIdentity { pid, began }))
    }
}

/// Way in which a tenant's tasks were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum FoundBy {
    /// A process of the container. Its start time distinguishes it from a later process with the same pid.
    Process {
        pid: u32,
        /// Start time of the process, in ticks of 10 ms since boot.
        began: u64,
    },
    /// A cgroup.
    Group {
        /// Path in the hierarchy of version 2.
        path: String,
    },
}

impl FoundBy {
    /// Returns whether the name denotes the same tasks after a reboot: true for units and slices.
    #[must_use]
    pub fn outlives_boot(&self) -> bool {
        match self {
            Self::Process { .. } => false,
            Self::Group { path } => path.ends_with(".service") || path.ends_with(".slice"),
        }
    }
}

//! What the store keeps of guards: programs of tenants, and for whose tasks each of their links lets them run.

use bpfmand_core::{MapId, ProcessIdentity, ProcessScope, TaskGroup, TenantRules};
use serde::{Deserialize, Serialize};

/// How a tenant's program was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramGuard {
    /// What it is held to, also when it is loaded again.
    pub rules: TenantRules,
    /// The table that its test looks into, as of this boot; none for types that run in no task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<MapId>,
    /// It can tell tasks by their process namespace.
    #[serde(default)]
    pub namespaces: bool,
    /// It can tell tasks by their rights.
    #[serde(default)]
    pub credentials: bool,
    /// Of a tcx program: it answers NEXT or DROP alone. Those that earlier versions loaded do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrowed: bool,
    /// Most instructions of one run. Records of earlier versions have none, nor have those of kernels before 5.16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// For whose tasks a link lets its program run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkGuard {
    /// Its entry of the program's table, and its cookie.
    pub index: u32,
    /// The tasks, in words of the boot in which the link was attached.
    pub tasks: TaskGroup,
    /// User without whose rights alone a task is left out. Links to containers have none, nor have those of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// By what they were found.
    pub found_by: FoundBy,
    /// The process whose return addresses a return probe changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_of: Option<ProcessScope>,
    /// When that process began, in ticks of 10 ms since boot, as it was found to be one of the tasks. Records of earlier
    /// versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_began: Option<u64>,
}

impl LinkGuard {
    /// Returns the processes that were found to be the tenant's, with their beginnings.
    pub fn checked_processes(&self) -> impl Iterator<Item = ProcessIdentity> {
        let container = match self.found_by {
            FoundBy::Process { pid, began } => Some(ProcessIdentity { pid, began }),
            FoundBy::Group { .. } => None,
        };
        let returns_of = self.returns_of.as_ref().and_then(|scope| scope.pid).zip(self.returns_began);
        container.into_iter().chain(returns_of.map(|(pid, began)| ProcessIdentity { pid, began }))
    }
}

/// By what a tenant's tasks were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum FoundBy {
    /// A process of its container, which another one follows under the same number.
    Process {
        /// Its number.
        pid: u32,
        /// When it began, in ticks of 10 ms since boot.
        began: u64,
    },
    /// A control group.
    Group {
        /// Its path in the hierarchy of version 2.
        path: String,
    },
}

impl FoundBy {
    /// True for what is called the same after a reboot and is the same: units, slices. Sessions and processes are not.
    #[must_use]
    pub fn outlives_boot(&self) -> bool {
        match self {
            Self::Process { .. } => false,
            Self::Group { path } => path.ends_with(".service") || path.ends_with(".slice"),
        }
    }
}

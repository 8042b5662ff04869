//! What the store keeps of how much a program may take, and of how long it stays.

use bpfmand_core::{ClientLease, CpuAction, CpuExcess, CpuLimit, Deadline};
use serde::{Deserialize, Serialize};

/// How much of a CPU a program may take, what came of it, and when it is unloaded. It is the program's, not that of one
/// version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramBudget {
    /// Its own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuLimit>,
    /// The programs of its owner were limited together when it was loaded: its chains take the time of members.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
    /// It took more than it may, and was detached for that or, as a version before, replaced by the one before. Until
    /// somebody attaches it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<CpuExcess>,
    /// When it is unloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// The lease that it is unloaded with. Leases end with the daemon: one that no client of this daemon holds is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<ClientLease>,
}

impl ProgramBudget {
    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the next version of the program has: that one was detached counts on, that it gave way to this one does not.
    #[must_use]
    pub fn of_next_version(&self) -> Self {
        let excess = self.excess.clone().filter(|excess| excess.done == CpuAction::Detach);
        Self { excess, ..self.clone() }
    }

    /// True if what it takes in a chain of several has to be told from what the others take.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured || self.cpu.is_some()
    }
}

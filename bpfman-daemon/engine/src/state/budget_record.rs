//! Records of a program's CPU limit and lifetime.

use bpfman_model::{ClientLease, CpuAction, CpuExcess, CpuLimit, Deadline};
use serde::{Deserialize, Serialize};

/// CPU limit, consequence of exceeding it, and lifetime of a program. They do not belong to a single version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramBudget {
    /// The program's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuLimit>,
    /// True if the owner had a common limit when the program was loaded: its chains measure the time of their members.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
    /// Excess for which the program was detached or rolled back; kept until a detached program is attached again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<CpuExcess>,
    /// Time at which the program is unloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
    /// Lease at the end of which the program is unloaded. Leases end with the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<ClientLease>,
}

impl ProgramBudget {
    /// Returns whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the budget of the next version. A detachment remains in effect; a rollback to this version does not.
    #[must_use]
    pub fn of_next_version(&self) -> Self {
        let excess = self.excess.clone().filter(|excess| excess.done == CpuAction::Detach);
        Self { excess, ..self.clone() }
    }

    /// Returns whether the program's time in a chain must be measured separately from that of other members.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.measured || self.cpu.is_some()
    }
}

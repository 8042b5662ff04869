//! Classes of `doctor`'s findings.

use serde::{Serialize, Serializer};

use crate::exit::Exit;

/// Class of a finding: its exit code, which differs from those of other classes, and its name in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingClass(Exit, &'static str);

impl FindingClass {
    pub const DAEMON_DEAD: Self = Self(Exit::DaemonDead, "daemon-dead");
    /// Root detached everything (break-glass).
    pub const DETACHED: Self = Self(Exit::Detached, "detached");
    pub const STORE: Self = Self(Exit::Store, "store");
    pub const DISK: Self = Self(Exit::Disk, "disk");
    /// Problem of the kernel, or of the bpffs.
    pub const KERNEL: Self = Self(Exit::Kernel, "kernel");
    /// Remains of failed operations.
    pub const UNFINISHED: Self = Self(Exit::Unfinished, "unfinished");
    /// The policy cannot be read, or revokes what runs.
    pub const POLICY: Self = Self(Exit::Policy, "policy");
    /// The kernel does not run the recorded state.
    pub const DRIFT: Self = Self(Exit::Conflict, "drift");
    /// Objects without a record.
    pub const STRAYS: Self = Self(Exit::Strays, "strays");
    pub const HISTORY: Self = Self(Exit::History, "history");
    pub const CLOCK: Self = Self(Exit::Clock, "clock");

    /// All classes, the gravest first: the gravest finding determines the exit code.
    pub const ALL: [Self; 11] = [
        Self::DAEMON_DEAD,
        Self::DETACHED,
        Self::STORE,
        Self::DISK,
        Self::KERNEL,
        Self::UNFINISHED,
        Self::POLICY,
        Self::DRIFT,
        Self::STRAYS,
        Self::HISTORY,
        Self::CLOCK,
    ];

    /// Returns the class of a daemon's finding; unknown classes of a newer daemon count as drift.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|class| class.name() == name).unwrap_or(Self::DRIFT)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        self.1
    }

    /// Returns the exit code of `doctor`.
    #[must_use]
    pub const fn exit(self) -> Exit {
        self.0
    }
}

impl Serialize for FindingClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_class_has_an_exit_code_of_its_own() {
        let codes: BTreeSet<u8> = FindingClass::ALL.iter().map(|class| class.exit().number()).collect();
        assert_eq!(codes.len(), FindingClass::ALL.len());
    }
}

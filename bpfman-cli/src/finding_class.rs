//! Classes of `doctor`'s findings.

use crate::exit::Exit;

/// Class of a finding. Each has an exit code; the gravest of several counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingClass {
    /// No daemon answers.
    DaemonDead,
    /// Root detached everything (break-glass).
    Detached,
    /// Problem of the records.
    Store,
    /// Lack of free space.
    Disk,
    /// Problem of the kernel, or of the bpffs.
    Kernel,
    /// Remains of failed operations.
    Unfinished,
    /// The policy cannot be read, or revokes what runs.
    Policy,
    /// The kernel does not run the recorded state.
    Drift,
    /// Objects without a record.
    Strays,
    /// Problem of the journal.
    History,
    /// Problem of the clock.
    Clock,
}

impl FindingClass {
    /// All classes, the gravest first.
    pub const ALL: [Self; 11] = [
        Self::DaemonDead,
        Self::Detached,
        Self::Store,
        Self::Disk,
        Self::Kernel,
        Self::Unfinished,
        Self::Policy,
        Self::Drift,
        Self::Strays,
        Self::History,
        Self::Clock,
    ];

    /// Returns the class of a daemon's finding; unknown classes of a newer daemon count as drift.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "detached" => Self::Detached,
            "store" => Self::Store,
            "disk" => Self::Disk,
            "kernel" => Self::Kernel,
            "unfinished" => Self::Unfinished,
            "policy" => Self::Policy,
            "history" => Self::History,
            "clock" => Self::Clock,
            _ => Self::Drift,
        }
    }

    /// Returns the name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DaemonDead => "daemon-dead",
            Self::Detached => "detached",
            Self::Store => "store",
            Self::Disk => "disk",
            Self::Kernel => "kernel",
            Self::Unfinished => "unfinished",
            Self::Policy => "policy",
            Self::Drift => "drift",
            Self::Strays => "strays",
            Self::History => "history",
            Self::Clock => "clock",
        }
    }

    /// Returns the exit code of `doctor`.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::DaemonDead => Exit::DaemonDead,
            Self::Detached => Exit::Detached,
            Self::Store => Exit::Store,
            Self::Disk => Exit::Disk,
            Self::Kernel => Exit::Kernel,
            Self::Unfinished => Exit::Unfinished,
            Self::Policy => Exit::Policy,
            Self::Drift => Exit::Conflict,
            Self::Strays => Exit::Strays,
            Self::History => Exit::History,
            Self::Clock => Exit::Clock,
        }
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
        for class in FindingClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
        }
    }
}

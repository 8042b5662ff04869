//! Kinds of what `doctor` finds.

use crate::exit::Exit;

/// A kind of finding. Each has an exit code; of several the gravest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingClass {
    /// No daemon answers.
    DaemonDead,
    /// Root took everything off the machine.
    Detached,
    /// The records.
    Store,
    /// Free space.
    Disk,
    /// The kernel, or the file system of pins.
    Kernel,
    /// What failed operations left.
    Unfinished,
    /// The policy cannot be read, or revokes what runs.
    Policy,
    /// What runs is not what was asked for.
    Drift,
    /// What no record names.
    Strays,
    /// The journal.
    History,
    /// The clock.
    Clock,
}

impl FindingClass {
    /// All of them, the gravest first.
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

    /// The class of a daemon's finding. What a newer daemon calls otherwise is a difference.
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

    /// Its name in answers.
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

    /// What `doctor` ends with.
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

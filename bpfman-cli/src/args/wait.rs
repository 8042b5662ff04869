//! `bpfman wait`: scripts continue once a condition is met.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::object_name::ObjectName;

/// `bpfman wait`.
#[derive(Args, Debug)]
pub struct WaitFor {
    /// Kind of the object to wait for
    #[arg(value_name = "KIND", value_enum)]
    pub kind: WaitKind,
    /// Id of the object; for programs also a function's name, which means all programs of that name
    #[arg(value_name = "ID|NAME")]
    pub target: ObjectName,
    /// Condition
    #[arg(long = "for", value_name = "CONDITION", value_enum)]
    pub condition: WaitCondition,
    /// Timeout: a number and s, m, h or d; 0s checks once. Exits with 20 after it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = super::image::age)]
    pub timeout: Duration,
}

/// Kinds of objects to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitKind {
    /// A program of bpfman.
    Program,
    /// A link: one attachment of a program.
    Link,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitCondition {
    /// The link runs; the program has links, and all of them run.
    Attached,
    /// The link does not exist; the program has no links, or does not exist.
    Detached,
    /// The program is in the kernel.
    Loaded,
    /// The program does not exist.
    Unloaded,
    /// The program or link does not exist.
    Gone,
}

impl WaitKind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Link => "link",
        }
    }
}

impl WaitCondition {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Loaded => "loaded",
            Self::Unloaded => "unloaded",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn wait(line: &str) -> Result<WaitFor, clap::Error> {
        match Cli::try_parse_from(line.split_whitespace())?.command {
            CliCommand::Wait(wait) => Ok(wait),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn condition_may_precede_or_follow_the_object() {
        for line in ["bpfman wait --for attached link 12", "bpfman wait link 12 --for=attached --timeout 30s"]
        {
            let wait = wait(line).unwrap();
            assert_eq!(
                (wait.kind, wait.target, wait.condition),
                (WaitKind::Link, ObjectName::Id(12), WaitCondition::Attached)
            );
            assert_eq!(wait.timeout, Duration::from_secs(30));
        }
        let named = wait("bpfman wait program xdp_pass --for loaded --timeout 2m").unwrap();
        assert_eq!((named.target, named.timeout.as_secs()), (ObjectName::Name("xdp_pass".to_owned()), 120));
        for wrong in [
            "link 0 --for gone",
            "link 12",
            "--for attached 12",
            "program x --for ready",
            "link 1 --for gone --timeout 5",
        ] {
            assert_eq!(wait(&format!("bpfman wait {wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}

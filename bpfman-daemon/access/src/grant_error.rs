//! What is wrong with a grant as it is written.

use bpfmand_core::{BadCpuAction, BadCpuShare, BadGlob, UnknownProgramType};

use crate::policy_file::LONGEST_NAME;
use crate::{BadPattern, UnknownVerb};

/// A mistake in one grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Its name.
    #[error("a name has 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores")]
    Name,
    /// Its name is that of an earlier grant.
    #[error("another grant has this name, which owns what callers make")]
    SecondOfItsName,
    /// It names no callers.
    #[error("it is for nobody: write users, groups, units or pods")]
    Nobody,
    /// It allows no verb.
    #[error("it allows nothing")]
    Nothing,
    /// A user or group that the machine does not have.
    #[error("there is no {what} \"{name}\" on this machine")]
    NoAccount {
        /// "user" or "group".
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A verb.
    #[error("allow: {0}, or all")]
    Verb(#[from] UnknownVerb),
    /// A type of programs.
    #[error("types: {0}")]
    Type(#[from] UnknownProgramType),
    /// A hook or target.
    #[error("{key}: {source}")]
    Pattern {
        /// The key.
        key: &'static str,
        /// The reason.
        source: BadPattern,
    },
    /// A pattern of names.
    #[error("{key}: {source}")]
    Names {
        /// The key.
        key: &'static str,
        /// The reason.
        source: BadGlob,
    },
    /// Network namespaces.
    #[error("netns: expected [\"own\"], [\"any\"] or absolute paths")]
    Netns,
    /// A range of priorities.
    #[error("priorities: \"{0}\" is no range such as \"100-900\"")]
    Priorities(String),
    /// Helpers for programs that are not held to any.
    #[error("helpers: only a grant with scope = \"cgroup\" keeps programs from helpers, and may allow some")]
    HelpersWithoutScope,
    /// A helper or kernel function.
    #[error("helpers: \"{0}\" is no name of a helper or kernel function, such as bpf_probe_read_kernel")]
    Helper(String),
    /// A size.
    #[error("map_memory: \"{0}\" is no size such as \"64MiB\"")]
    Size(String),
    /// A share of a CPU.
    #[error("limits.cpu: {0}")]
    Cpu(#[from] BadCpuShare),
    /// What follows.
    #[error("limits.over_cpu: {0}")]
    OverCpu(#[from] BadCpuAction),
    /// What follows if something that is not limited is exceeded.
    #[error("limits.over_cpu says what follows over limits.cpu, which is not there")]
    OverNoCpu,
    /// Owners are applications then, which have no limit of CPU time.
    #[error(
        "limits.cpu counts for programs of the grant's own, and with applications it has none of its own where a caller \
         names one: take one of the two out"
    )]
    CpuOfApplications,
}

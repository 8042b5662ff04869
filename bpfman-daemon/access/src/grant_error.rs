//! Mistakes in the text of a grant.

use bpfmand_core::{BadCpuAction, BadCpuShare, BadGlob, UnknownProgramType};

use crate::policy_file::LONGEST_NAME;
use crate::{BadPattern, UnknownVerb};

/// A mistake in one grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The name is invalid.
    #[error("a name has 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores")]
    Name,
    /// The name is that of an earlier grant.
    #[error("another grant has this name, which owns what callers make")]
    SecondOfItsName,
    /// There are no callers.
    #[error("it is for nobody: write users, groups, units or pods")]
    Nobody,
    /// There is no verb.
    #[error("it allows nothing")]
    Nothing,
    /// The machine does not have this user or group.
    #[error("there is no {what} \"{name}\" on this machine")]
    NoAccount {
        /// "user" or "group".
        what: &'static str,
        /// Name of the account.
        name: String,
    },
    /// The verb is unknown.
    #[error("allow: {0}, or all")]
    Verb(#[from] UnknownVerb),
    /// The type of programs is unknown.
    #[error("types: {0}")]
    Type(#[from] UnknownProgramType),
    /// A pattern of hooks or targets is invalid.
    #[error("{key}: {source}")]
    Pattern {
        /// Key of the grant.
        key: &'static str,
        /// Reason why it is invalid.
        source: BadPattern,
    },
    /// A pattern of names is invalid.
    #[error("{key}: {source}")]
    Names {
        /// Key of the grant.
        key: &'static str,
        /// Reason why it is invalid.
        source: BadGlob,
    },
    /// The network namespaces are invalid.
    #[error("netns: expected [\"own\"], [\"any\"] or absolute paths")]
    Netns,
    /// The range of priorities is invalid.
    #[error("priorities: \"{0}\" is no range such as \"100-900\"")]
    Priorities(String),
    /// Helpers are allowed, but nothing restricts them.
    #[error("helpers: only a grant with scope = \"cgroup\" keeps programs from helpers, and may allow some")]
    HelpersWithoutScope,
    /// The name of a helper or kernel function is invalid.
    #[error("helpers: \"{0}\" is no name of a helper or kernel function, such as bpf_probe_read_kernel")]
    Helper(String),
    /// The size is invalid.
    #[error("map_memory: \"{0}\" is no size such as \"64MiB\"")]
    Size(String),
    /// The share of a CPU is invalid.
    #[error("limits.cpu: {0}")]
    Cpu(#[from] BadCpuShare),
    /// The action over the CPU limit is invalid.
    #[error("limits.over_cpu: {0}")]
    OverCpu(#[from] BadCpuAction),
    /// There is an action, but no CPU limit.
    #[error("limits.over_cpu says what follows over limits.cpu, which is not there")]
    OverNoCpu,
    /// The owners are applications, which have no CPU limit.
    #[error(
        "limits.cpu counts for programs of the grant's own, and with applications it has none of its own where a caller \
         names one: take one of the two out"
    )]
    CpuOfApplications,
}

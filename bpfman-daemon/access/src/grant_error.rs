//! Mistakes in the text of a grant.

use bpfman_model::{BadCpuAction, BadCpuShare, BadGlob, UnknownProgramType};

use crate::policy_file::MAX_NAME;
use crate::{BadPattern, UnknownVerb};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("a name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores")]
    Name,
    #[error("another grant has this name, which owns what callers make")]
    SecondOfItsName,
    #[error("it is for no caller: write users, groups, units or pods")]
    Nobody,
    #[error("it allows nothing")]
    Nothing,
    #[error("there is no {what} \"{name}\" on this machine")]
    NoAccount {
        /// "user" or "group".
        what: &'static str,
        name: String,
    },
    #[error("allow: {0}, or all")]
    Verb(#[from] UnknownVerb),
    #[error("types: {0}")]
    Type(#[from] UnknownProgramType),
    /// Invalid pattern of hooks or targets.
    #[error("{key}: {source}")]
    Pattern { key: &'static str, source: BadPattern },
    /// Invalid pattern of names.
    #[error("{key}: {source}")]
    Names { key: &'static str, source: BadGlob },
    #[error("netns: expected [\"own\"], [\"any\"] or absolute paths")]
    Netns,
    #[error("priorities: \"{0}\" is no range such as \"100-900\"")]
    Priorities(String),
    /// Permission for raw bytecode in a grant that restricts programs to its tasks.
    #[error(
        "allow: raw programs have no guard in front of them: a grant with scope = \"cgroup\" cannot allow them"
    )]
    RawWithScope,
    #[error("{0}: it counts for sessions of `bpfman run-as` alone, which need \"raw\" in allow")]
    KeyOfSessions(&'static str),
    #[error("executables: \"{0}\" is no digest such as \"sha256:\" and 64 hexadecimal digits in lower case")]
    Digest(String),
    #[error("programs: \"{0}\" is no absolute path of a file that `bpfman run-as --record` wrote")]
    Programs(String),
    /// Allowed helpers in a grant that does not restrict helpers.
    #[error("helpers: only a grant with scope = \"cgroup\" keeps programs from helpers, and may allow some")]
    HelpersWithoutScope,
    #[error("helpers: \"{0}\" is no name of a helper or kernel function, such as bpf_probe_read_kernel")]
    Helper(String),
    #[error("map_memory: \"{0}\" is no size such as \"64MiB\"")]
    Size(String),
    /// Invalid share of a CPU.
    #[error("limits.cpu: {0}")]
    Cpu(#[from] BadCpuShare),
    #[error("limits.over_cpu: {0}")]
    OverCpu(#[from] BadCpuAction),
    #[error("limits.over_cpu sets what follows over limits.cpu, which is not there")]
    OverNoCpu,
    /// CPU limit in a grant with applications: these own their programs, so the limit does not apply to them.
    #[error(
        "limits.cpu counts for programs of the grant's own, and with applications it has none of its own where a caller \
         names one: take one of the two out"
    )]
    CpuOfApplications,
}

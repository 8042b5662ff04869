//! Reasons why a tenant's program is not loaded or attached.

use bpfman_model::{Hint, LinkId, ProgramType, Reason};

use super::EngineError;

/// Refusal of a program that cannot be limited to a tenant's own tasks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    /// The program makes a call that tenants' programs may not make.
    #[error(
        "program \"{program}\" is a tenant's and may not use {what} (function {function}, instruction {at}){}",
        if *grantable { "" } else { "; no grant allows it" }
    )]
    ForbiddenUse {
        program: String,
        what: String,
        /// Name of the call, as a grant writes it.
        name: String,
        function: String,
        /// Index of the instruction in that function.
        at: usize,
        grantable: bool,
    },
    /// The kernel adds entries of the map for its own objects, without a bound.
    #[error(
        "map \"{map}\" of type {map_type} is a tenant's, and the kernel makes entries of it for as many sockets, tasks, inodes or \
         cgroups as there are: neither their number nor their memory can be limited"
    )]
    UnboundedMap {
        map: String,
        map_type: String,
        /// The helper that makes entries, as a grant writes it.
        helper: &'static str,
    },
    /// A program cannot find out on this kernel through which link it runs.
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's and has to be guarded, which this kernel ({release}) \
         cannot: it has no cookies of {links}; {needs}"
    )]
    NoCookies {
        program: String,
        program_type: ProgramType,
        release: String,
        /// Type of the links without cookies.
        links: &'static str,
        /// Kernel feature or release that provides them.
        needs: &'static str,
    },
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's, and no guard keeps programs of this type to a tenant's own"
    )]
    NoGuard { program: String, program_type: ProgramType },
    #[error("program \"{0}\" is a tenant's and was loaded before such programs were guarded")]
    NotGuarded(String),
    #[error(
        "program \"{0}\" of a namespaced application runs for one container, and the attachment names none"
    )]
    NoContainer(String),
    #[error(
        "program \"{0}\" runs for the cgroup of whoever attaches it, and the caller is in none of its own in the \
         hierarchy of version 2"
    )]
    NoGroup(String),
    #[error(
        "program \"{0}\" runs for the tasks of one user, and cannot test their rights: the kernel has to have type information \
         (BTF), the program a licence that is compatible with the GPL, and it has to be loaded by this version"
    )]
    NoUserTest(String),
    #[error(
        "program \"{program}\" runs for the tasks of cgroup {group}, and processes of user {other} are in it"
    )]
    GroupOfOthers { program: String, group: String, other: u32 },
    /// The tenant's tasks are known only by their PID namespace, which the program cannot read.
    #[error(
        "program \"{program}\" cannot tell the container's tasks: they are in no cgroup of version 2 that the \
         daemon sees, and to compare process namespaces {needs}"
    )]
    NoNamespaceTest { program: String, needs: &'static str },
    /// A type for which the kernel changes return addresses in each process.
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's, and for it the kernel changes return addresses of other \
         processes that map the same file"
    )]
    ReturnsOfMany { program: String, program_type: ProgramType },
    /// This kernel changes return addresses in each process that runs the function of a return probe.
    #[error(
        "program \"{program}\" of type uretprobe is a tenant's, and this kernel ({release}) changes return addresses of other \
         processes that map the same file; Linux 6.13 or later does not"
    )]
    ReturnsOfOthers { program: String, release: String },
    #[error(
        "program \"{0}\" of type uretprobe is a tenant's and is attached to one process, and the attachment names no process"
    )]
    NoProcess(String),
    #[error(
        "program \"{program}\" is a tenant's, and process {pid} is not among the processes that it may run for"
    )]
    OtherProcess { program: String, pid: u32 },
    /// The link is older than the rule that attaches a tenant's return probe to one process.
    #[error(
        "link {link} of program \"{program}\" was attached before return probes of tenants were of one process, and is not \
         attached again"
    )]
    NotOfOneProcess { program: String, link: LinkId },
    /// An exit of the program is too far from others for a jump.
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's, and one of its exits is more than 32767 instructions behind \
         the one before, so that it cannot be given one result"
    )]
    FarExit { program: String, program_type: ProgramType },
    #[error(
        "program \"{program}\" is a tenant's and may run for {steps} instructions, more than {limit}: its loops make up to \
         {rounds} rounds, and the verifier walked through {verified} instructions, through global functions once each"
    )]
    TooLong {
        program: String,
        /// Maximum number of instructions of one run.
        steps: u64,
        limit: u64,
        rounds: u64,
        verified: u32,
    },
    #[error("program \"{program}\" has {most} links, the most that a guarded program can have")]
    Full { program: String, most: u32 },
}

impl From<GuardRefusal> for EngineError {
    fn from(refusal: GuardRefusal) -> Self {
        Self::Guard(Box::new(refusal))
    }
}

impl GuardRefusal {
    pub(super) const fn error_kind(&self) -> Reason {
        match self {
            Self::ForbiddenUse { .. }
            | Self::UnboundedMap { .. }
            | Self::NoGuard { .. }
            | Self::ReturnsOfMany { .. }
            | Self::OtherProcess { .. }
            | Self::FarExit { .. }
            | Self::TooLong { .. } => Reason::Denied,
            Self::NoCookies { .. } | Self::NoNamespaceTest { .. } | Self::ReturnsOfOthers { .. } => {
                Reason::Unsupported
            }
            Self::NotGuarded(_)
            | Self::NoGroup(_)
            | Self::NoUserTest(_)
            | Self::GroupOfOthers { .. }
            | Self::NotOfOneProcess { .. } => Reason::Precondition,
            Self::NoContainer(_) | Self::NoProcess(_) => Reason::Invalid,
            Self::Full { .. } => Reason::Conflict,
        }
    }

    pub(super) fn hint(&self) -> Option<Hint> {
        let granted = |name: &str| {
            let text = format!(
                "root can allow it in a grant with scope = \"cgroup\": helpers = [\"{name}\"]; programs of \
                 namespaced applications never may: let a cluster application have it"
            );
            Some(text.into())
        };
        let text = match self {
            Self::ForbiddenUse { name, grantable: true, .. } => return granted(name),
            Self::UnboundedMap { helper, .. } => return granted(helper),
            Self::ForbiddenUse { .. } | Self::NoGuard { .. } => {
                "let root load it, or a cluster application have it"
            }
            Self::NotGuarded(_) => "replace the program, or load it again",
            Self::NoContainer(_) => "name a process of the container (--container-pid)",
            Self::ReturnsOfMany { .. } => {
                "use a program of type uretprobe, for one process (--pid), or one of type uprobe_multi, at the entries"
            }
            Self::ReturnsOfOthers { .. } => "attach an entry probe (uprobe)",
            Self::NoProcess(_) => {
                "name a process (--pid), or attach an entry probe (uprobe), which is in all"
            }
            Self::OtherProcess { .. } => "name a process of the own container or cgroup (--pid)",
            Self::NotOfOneProcess { .. } => "detach the link, and attach the program to a process (--pid)",
            Self::TooLong { .. } => {
                "have loops make fewer rounds, and make functions that loops call static; root can allow it in a grant with scope = \"cgroup\": helpers = [\"bpf_loop\"]"
            }
            Self::FarExit { .. } => "end the program at one place, or split it into functions",
            Self::NoGroup(_) => "call from a systemd unit, a session or a pod",
            Self::NoUserTest(_) => {
                "give the program a licence that is compatible with the GPL, and load it again"
            }
            Self::GroupOfOthers { .. } => return Some(Hint::OwnScope),
            Self::NoCookies { .. } | Self::NoNamespaceTest { .. } | Self::Full { .. } => return None,
        };
        Some(text.into())
    }
}

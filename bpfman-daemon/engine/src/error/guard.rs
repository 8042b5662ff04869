//! Why a tenant's program is not loaded or attached.

use bpfmand_core::ProgramType;

use super::{EngineError, ErrorKind};

/// What keeps a tenant's program from running for the tenant's own tasks alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardRefusal {
    /// It calls what tenants' programs may not.
    #[error(
        "program \"{program}\" is a tenant's and may not use {what} (function {function}, instruction {at}){}",
        if *grantable { "" } else { "; no grant allows it" }
    )]
    ForbiddenUse {
        /// Which program.
        program: String,
        /// "helper bpf_probe_read_kernel".
        what: String,
        /// Its name, as a grant writes it.
        name: String,
        /// In which function.
        function: String,
        /// Index of the instruction in that function.
        at: usize,
        /// A grant can allow it.
        grantable: bool,
    },
    /// The kernel cannot tell a program by which link it runs.
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's and has to be guarded, which this kernel ({release}) \
         cannot: it has no cookies of {links}; {needs}"
    )]
    NoCookies {
        /// Which program.
        program: String,
        /// Its type.
        program_type: ProgramType,
        /// `uname -r`.
        release: String,
        /// Of what kind of links.
        links: &'static str,
        /// What would have them.
        needs: &'static str,
    },
    /// Programs of this type have no guard.
    #[error(
        "program \"{program}\" of type {program_type} is a tenant's, and no guard keeps programs of this type to a tenant's own"
    )]
    NoGuard {
        /// Which program.
        program: String,
        /// Its type.
        program_type: ProgramType,
    },
    /// The program was loaded without a guard.
    #[error("program \"{0}\" is a tenant's and was loaded before such programs were guarded")]
    NotGuarded(String),
    /// A tenant's probe without a container.
    #[error(
        "program \"{0}\" of a namespaced application runs for one container, and the attachment names none"
    )]
    NoContainer(String),
    /// The caller's tasks cannot be told from others.
    #[error(
        "program \"{0}\" runs for the control group of whoever attaches it, and the caller is in none of its own in the \
         hierarchy of version 2"
    )]
    NoGroup(String),
    /// Tasks that are known by their process namespace alone, and a program that cannot look at that.
    #[error(
        "program \"{program}\" cannot tell the container's tasks: they are in no control group of version 2 that the \
         daemon sees, and to compare process namespaces {needs}"
    )]
    NoNamespaceTest {
        /// Which program.
        program: String,
        /// What is missing.
        needs: &'static str,
    },
    /// The table is full.
    #[error("program \"{program}\" has {most} links, the most that a guarded program can have")]
    Full {
        /// Which program.
        program: String,
        /// The most.
        most: u32,
    },
}

impl From<GuardRefusal> for EngineError {
    fn from(refusal: GuardRefusal) -> Self {
        Self::Guard(Box::new(refusal))
    }
}

impl GuardRefusal {
    pub(super) const fn error_kind(&self) -> ErrorKind {
        match self {
            Self::ForbiddenUse { .. } | Self::NoGuard { .. } => ErrorKind::Denied,
            Self::NoCookies { .. } | Self::NoNamespaceTest { .. } => ErrorKind::Unsupported,
            Self::NotGuarded(_) | Self::NoGroup(_) => ErrorKind::Precondition,
            Self::NoContainer(_) => ErrorKind::Invalid,
            Self::Full { .. } => ErrorKind::Conflict,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        let text = match self {
            Self::ForbiddenUse { name, grantable: true, .. } => {
                return Some(format!(
                    "root can allow it in a grant with scope = \"cgroup\": helpers = [\"{name}\"]; programs of \
                     namespaced applications never may: let a cluster application have it"
                ));
            }
            Self::ForbiddenUse { .. } | Self::NoGuard { .. } => {
                "let root load it, or a cluster application have it"
            }
            Self::NotGuarded(_) => "replace the program, or load it again",
            Self::NoContainer(_) => "name a process of the container (--container-pid)",
            Self::NoGroup(_) => "call from a systemd unit, a session or a pod",
            Self::NoCookies { .. } | Self::NoNamespaceTest { .. } | Self::Full { .. } => return None,
        };
        Some(text.to_owned())
    }
}

//! The kinds of programs that this manager loads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::uapi::prog_type;

/// What a program is to its users. Entry and return probes are told apart, although the kernel loads both the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgramType {
    /// Packets as a network driver receives them.
    Xdp,
    /// Packets at a traffic control hook, chained by this manager.
    Tc,
    /// Packets at a traffic control hook, chained by the kernel itself (Linux 6.6 and later).
    Tcx,
    /// A static trace point.
    Tracepoint,
    /// Entry of, or an offset in, a kernel function.
    Kprobe,
    /// Return from a kernel function.
    Kretprobe,
    /// Entry of, or an offset in, a user-space function.
    Uprobe,
    /// Return from a user-space function.
    Uretprobe,
    /// Entry of a kernel function, by BTF and trampoline.
    Fentry,
    /// Exit of a kernel function, by BTF and trampoline.
    Fexit,
    /// A Linux Security Module hook.
    Lsm,
}

impl ProgramType {
    /// Every type, in the order in which lists show them.
    pub const ALL: [Self; 11] = [
        Self::Xdp,
        Self::Tc,
        Self::Tcx,
        Self::Tracepoint,
        Self::Kprobe,
        Self::Kretprobe,
        Self::Uprobe,
        Self::Uretprobe,
        Self::Fentry,
        Self::Fexit,
        Self::Lsm,
    ];

    /// The name users write, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::Tcx => "tcx",
            Self::Tracepoint => "tracepoint",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Uprobe => "uprobe",
            Self::Uretprobe => "uretprobe",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Lsm => "lsm",
        }
    }

    /// The kernel's `enum bpf_prog_type` number.
    #[must_use]
    pub const fn kernel_type(self) -> u32 {
        match self {
            Self::Kprobe | Self::Kretprobe | Self::Uprobe | Self::Uretprobe => prog_type::KPROBE,
            Self::Tc | Self::Tcx => prog_type::SCHED_CLS,
            Self::Tracepoint => prog_type::TRACEPOINT,
            Self::Xdp => prog_type::XDP,
            Self::Fentry | Self::Fexit => prog_type::TRACING,
            Self::Lsm => prog_type::LSM,
        }
    }

    /// True for types that have to be told at load what in the kernel they attach to.
    #[must_use]
    pub const fn needs_load_target(self) -> bool {
        matches!(self, Self::Fentry | Self::Fexit | Self::Lsm)
    }

    /// True for the probes that fire when a function returns.
    #[must_use]
    pub const fn is_return_probe(self) -> bool {
        matches!(self, Self::Kretprobe | Self::Uretprobe)
    }

    /// The type that clients of the published API declare it as: return probes as their entry probes.
    #[must_use]
    pub const fn declared(self) -> Self {
        match self {
            Self::Kretprobe => Self::Kprobe,
            Self::Uretprobe => Self::Uprobe,
            other => other,
        }
    }

    /// True if programs of this type share a hook in a chain that this manager compiles.
    #[must_use]
    pub const fn is_chained(self) -> bool {
        matches!(self, Self::Xdp | Self::Tc)
    }
}

impl fmt::Display for ProgramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program type that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown program type \"{0}\": expected one of xdp, tc, tcx, tracepoint, kprobe, kretprobe, uprobe, uretprobe, fentry, fexit, lsm"
)]
pub struct UnknownProgramType(pub String);

impl FromStr for ProgramType {
    type Err = UnknownProgramType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| UnknownProgramType(name.to_owned()))
    }
}

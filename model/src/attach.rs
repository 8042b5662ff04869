//! Attach points of programs, as requested by users.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    CgroupPath, Direction, FunctionPattern, HookKind, NetfilterPlace, PerfEventPlace, ProceedOn, ProgramType,
    TypeScope,
};

/// Interface, by name and network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name of the interface.
    pub name: String,
    /// File of the network namespace; `None` for the daemon's own.
    pub netns: Option<PathBuf>,
}

/// Processes in which a user-space probe fires, and the file system in which its target is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessScope {
    /// Only process in which the probe fires (host PID).
    pub pid: Option<u32>,
    /// Process that sees the target's path (host PID): the lookup uses its file system.
    pub container_pid: Option<u32>,
}

/// Attach point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AttachPoint {
    /// XDP chain of an interface.
    Xdp {
        /// Interface of the chain.
        interface: Interface,
        /// Priority; lower ones run first, from 0.
        priority: i32,
        /// Verdicts after which the next member runs.
        proceed_on: ProceedOn,
    },
    /// Traffic control chain of an interface.
    Tc {
        /// Interface of the chain.
        interface: Interface,
        /// Direction of the packets.
        direction: Direction,
        /// Priority; lower ones run first, from 0.
        priority: i32,
        /// Verdicts after which the next member runs.
        proceed_on: ProceedOn,
    },
    /// Kernel's own list of links at an interface's traffic control hook.
    Tcx {
        /// Interface of the hook.
        interface: Interface,
        /// Direction of the packets.
        direction: Direction,
        /// Priority; lower ones run first, from 0.
        priority: i32,
    },
    /// Tracepoint.
    Tracepoint {
        /// Folder of the tracepoint, for example `syscalls`.
        category: String,
        /// Name of the tracepoint, for example `sys_enter_openat`.
        name: String,
    },
    /// Entry or return of a kernel function: the program's type decides which.
    Kprobe {
        /// Symbol of the function.
        function: String,
        /// Offset from its start, in bytes.
        offset: u64,
    },
    /// Entry or return of a user-space function: the program's type decides which.
    Uprobe {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Symbol in the binary; `None`: `offset` counts from the start of the file.
        function: Option<String>,
        /// Offset, in bytes.
        offset: u64,
        /// Processes of the probe.
        scope: ProcessScope,
    },
    /// Function that an fentry program was loaded for.
    Fentry,
    /// Function that an fexit program was loaded for.
    Fexit,
    /// Hook that an LSM program was loaded for.
    Lsm,
    /// Raw tracepoint, by its name without a category.
    RawTracepoint {
        /// Name of the tracepoint, for example `sched_switch`.
        name: String,
    },
    /// Tracepoint that a program with typed arguments was loaded for.
    BtfTracepoint,
    /// Function with a modifiable return value that a program was loaded for.
    FmodRet,
    /// Objects that an iterator was loaded for. The program runs when its link is read.
    Iter,
    /// Kernel functions, attached by one link.
    KprobeMulti {
        /// Names and patterns of names.
        functions: Vec<FunctionPattern>,
    },
    /// User-space functions of one binary, attached by one link.
    UprobeMulti {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Symbols in the binary.
        functions: Vec<String>,
        /// Processes of the probe.
        scope: ProcessScope,
    },
    /// Cgroup (version 2) and all below it, at the hook that the program was loaded for.
    Cgroup {
        /// Path of the cgroup.
        path: CgroupPath,
    },
    /// A network namespace.
    Netns {
        /// File of the namespace; `None` for the daemon's own.
        netns: Option<PathBuf>,
    },
    /// A netfilter hook of a network namespace.
    Netfilter {
        /// File of the namespace; `None` for the daemon's own.
        netns: Option<PathBuf>,
        /// Hook, and position among the programs there.
        place: NetfilterPlace,
    },
    /// Sockmap, at the hook that the program was loaded for.
    Sockmap {
        /// Name of one of the program's own maps, in the object.
        map: String,
    },
    /// Netkit device, at the end that the program was loaded for, after the programs that are attached already.
    Netkit {
        /// Primary end of the device.
        interface: Interface,
    },
    /// USDT probe of a binary.
    Usdt {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Provider of the probe.
        provider: String,
        /// Name of the probe.
        name: String,
        /// Processes of the probe.
        scope: ProcessScope,
    },
    /// A system call.
    Ksyscall {
        /// Name of the call: `openat`.
        name: String,
    },
    /// struct_ops: list of kernel extensions by name, such as congestion control algorithms.
    StructOps {
        /// Map that holds the structure: the name of one of the program's own maps, in the object.
        map: String,
    },
    /// A perf event.
    PerfEvent {
        /// Counted event, and its scope.
        place: PerfEventPlace,
    },
    /// Function of another program that a program was loaded for.
    Freplace,
}

impl AttachPoint {
    /// Returns the priority for a change; `None` for points without one.
    pub const fn priority_mut(&mut self) -> Option<&mut i32> {
        match self {
            Self::Xdp { priority, .. } | Self::Tc { priority, .. } | Self::Tcx { priority, .. } => {
                Some(priority)
            }
            _ => None,
        }
    }

    /// Returns the interface for a change; `None` for points without one.
    pub const fn interface_mut(&mut self) -> Option<&mut Interface> {
        match self {
            Self::Xdp { interface, .. } | Self::Tc { interface, .. } | Self::Tcx { interface, .. } => {
                Some(interface)
            }
            _ => None,
        }
    }

    /// Returns whether programs of this type can be attached here.
    #[must_use]
    pub fn admits(&self, program_type: ProgramType) -> bool {
        use ProgramType as T;
        match self {
            Self::Xdp { .. } => matches!(program_type, T::Xdp),
            Self::Tc { .. } => matches!(program_type, T::Tc),
            Self::Tcx { .. } => matches!(program_type, T::Tcx),
            Self::Tracepoint { .. } => matches!(program_type, T::Tracepoint),
            Self::Kprobe { .. } => matches!(program_type, T::Kprobe | T::Kretprobe),
            Self::Netkit { .. } => matches!(program_type, T::Netkit),
            Self::Usdt { .. } => matches!(program_type, T::Usdt),
            Self::Ksyscall { .. } => matches!(program_type, T::Ksyscall | T::Kretsyscall),
            Self::Uprobe { .. } => matches!(program_type, T::Uprobe | T::Uretprobe),
            Self::Fentry => matches!(program_type, T::Fentry),
            Self::Fexit => matches!(program_type, T::Fexit),
            Self::Lsm => matches!(program_type, T::Lsm),
            Self::RawTracepoint { .. } => {
                matches!(program_type, T::RawTracepoint | T::RawTracepointWritable)
            }
            Self::BtfTracepoint => matches!(program_type, T::BtfTracepoint),
            Self::KprobeMulti { .. } => {
                matches!(program_type, T::KprobeMulti | T::KretprobeMulti | T::KprobeSession)
            }
            Self::UprobeMulti { .. } => {
                matches!(program_type, T::UprobeMulti | T::UretprobeMulti | T::UprobeSession)
            }
            Self::FmodRet => matches!(program_type, T::FmodRet),
            Self::Iter => matches!(program_type, T::Iter),
            Self::Cgroup { .. } => program_type.scope() == TypeScope::Cgroup,
            Self::Netns { .. } => matches!(program_type, T::SkLookup | T::FlowDissector),
            Self::Netfilter { .. } => matches!(program_type, T::Netfilter),
            Self::PerfEvent { .. } => matches!(program_type, T::PerfEvent),
            Self::Sockmap { .. } => program_type.scope() == TypeScope::Sockets,
            Self::StructOps { .. } => matches!(program_type, T::StructOps),
            Self::Freplace => matches!(program_type, T::Freplace),
        }
    }

    /// Returns the name of the point's type in messages.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Xdp { .. } => "xdp",
            Self::Tc { .. } => "tc",
            Self::Tcx { .. } => "tcx",
            Self::Tracepoint { .. } => "tracepoint",
            Self::Kprobe { .. } => "kprobe",
            Self::Netkit { .. } => "netkit",
            Self::Usdt { .. } => "usdt",
            Self::Ksyscall { .. } => "ksyscall",
            Self::Uprobe { .. } => "uprobe",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Lsm => "lsm",
            Self::RawTracepoint { .. } => "raw_tracepoint",
            Self::BtfTracepoint => "tp_btf",
            Self::KprobeMulti { .. } => "kprobe_multi",
            Self::UprobeMulti { .. } => "uprobe_multi",
            Self::FmodRet => "fmod_ret",
            Self::Iter => "iter",
            Self::Cgroup { .. } => "cgroup",
            Self::Netns { .. } => "netns",
            Self::Netfilter { .. } => "netfilter",
            Self::PerfEvent { .. } => "perf_event",
            Self::Sockmap { .. } => "sockmap",
            Self::StructOps { .. } => "struct_ops",
            Self::Freplace => "freplace",
        }
    }

    /// Returns the interface and the kind of hook of XDP, tc and tcx points; `None` for other points.
    #[must_use]
    pub fn hook(&self) -> Option<(&Interface, HookKind)> {
        match self {
            Self::Xdp { interface, .. } => Some((interface, HookKind::Xdp)),
            Self::Tc { interface, direction, .. } => Some((interface, HookKind::Tc(*direction))),
            Self::Tcx { interface, direction, .. } => Some((interface, HookKind::Tcx(*direction))),
            _ => None,
        }
    }

    /// Returns the network namespace of the point itself, by its file; the inner `None` is the daemon's own.
    #[must_use]
    pub const fn netns(&self) -> Option<&Option<PathBuf>> {
        match self {
            Self::Netns { netns } | Self::Netfilter { netns, .. } => Some(netns),
            Self::Netkit { interface } => Some(&interface.netns),
            _ => None,
        }
    }

    /// Returns whether the point's links can be updated to another program without a gap; false for members of chains.
    #[must_use]
    pub const fn has_updatable_link(&self) -> bool {
        matches!(
            self,
            Self::Tcx { .. }
                | Self::Cgroup { .. }
                | Self::Netns { .. }
                | Self::Iter
                | Self::Sockmap { .. }
                | Self::StructOps { .. }
                | Self::Netkit { .. }
        )
    }

    /// Returns whether the point has a link for each CPU, pinned in a folder.
    #[must_use]
    pub const fn is_per_cpu(&self) -> bool {
        matches!(self, Self::PerfEvent { place } if place.is_per_cpu())
    }

    /// Returns whether the point is determined by the program's load.
    #[must_use]
    pub const fn is_of_load(&self) -> bool {
        matches!(
            self,
            Self::Fentry
                | Self::Fexit
                | Self::Lsm
                | Self::BtfTracepoint
                | Self::FmodRet
                | Self::Iter
                | Self::Freplace
        )
    }

    /// Returns the priority, if links at this point are ordered.
    #[must_use]
    pub const fn priority(&self) -> Option<i32> {
        match self {
            Self::Xdp { priority, .. } | Self::Tc { priority, .. } | Self::Tcx { priority, .. } => {
                Some(*priority)
            }
            _ => None,
        }
    }

    /// Sets a member's proceed-on set to all verdicts, and returns the previous set.
    pub fn widen(&mut self) -> Option<ProceedOn> {
        match self {
            Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. } => {
                let all = ProceedOn::all(proceed_on.family());
                Some(std::mem::replace(proceed_on, all))
            }
            _ => None,
        }
    }

    /// Restores a member's proceed-on set, if there is one.
    pub fn narrow(&mut self, set: Option<ProceedOn>) {
        if let (Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. }, Some(set)) = (self, set) {
            *proceed_on = set;
        }
    }

    /// Returns the proceed-on set; `None` for points without one.
    #[must_use]
    pub const fn proceed_on(&self) -> Option<ProceedOn> {
        match self {
            Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. } => Some(*proceed_on),
            _ => None,
        }
    }
}

/// Text of the point as in the tables of v0.6.0, without the position in a chain.
impl fmt::Display for AttachPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xdp { interface, .. } => f.write_str(&interface.name),
            Self::Tc { interface, direction, .. } | Self::Tcx { interface, direction, .. } => {
                write!(f, "{} {direction}", interface.name)
            }
            Self::Tracepoint { category, name } => write!(f, "{category}/{name}"),
            Self::Netkit { interface } => f.write_str(&interface.name),
            Self::Usdt { target, provider, name, .. } => write!(f, "{target} {provider}:{name}"),
            Self::Ksyscall { name } => f.write_str(name),
            Self::Kprobe { function, offset: 0 } => f.write_str(function),
            Self::Kprobe { function, offset } => write!(f, "{function}+{offset:#x}"),
            Self::Uprobe { target, function: Some(function), .. } => write!(f, "{target} {function}"),
            Self::Uprobe { target, .. } => f.write_str(target),
            Self::Fentry => f.write_str("fentry"),
            Self::Fexit => f.write_str("fexit"),
            Self::Lsm => f.write_str("lsm"),
            Self::RawTracepoint { name } => f.write_str(name),
            Self::KprobeMulti { functions } => f.write_str(&several(functions)),
            Self::UprobeMulti { target, functions, .. } => write!(f, "{target} {}", several(functions)),
            Self::BtfTracepoint | Self::FmodRet | Self::Iter | Self::Freplace => {
                f.write_str(self.type_name())
            }
            Self::Cgroup { path } => f.write_str(path.as_str()),
            Self::Netns { netns } => f.write_str(&netns_text(netns.as_deref())),
            Self::PerfEvent { place } => write!(f, "{place}"),
            Self::Sockmap { map } | Self::StructOps { map } => f.write_str(map),
            Self::Netfilter { netns, place } => {
                write!(f, "{place}")?;
                netns.as_ref().map_or(Ok(()), |netns| write!(f, " in {}", netns.display()))
            }
        }
    }
}

/// Joins the first names in one line, and appends the number of the others.
fn several(names: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

fn netns_text(netns: Option<&Path>) -> String {
    netns.map_or_else(|| "own netns".to_owned(), |netns| netns.display().to_string())
}

//! What a program can be attached to, as its user asked for it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    CgroupPath, Direction, FunctionPattern, HookKind, NetfilterPlace, PerfEventPlace, ProceedOn, ProgramType,
    TypeScope,
};

/// Where an interface is to be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// A network namespace file; none for the daemon's own namespace.
    pub netns: Option<PathBuf>,
}

/// Which processes a user-space probe fires in, and how its target is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessScope {
    /// Only this process (host pid).
    pub pid: Option<u32>,
    /// The target's path is looked up as this process sees it (host pid).
    pub container_pid: Option<u32>,
}

/// One attach point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AttachPoint {
    /// An interface's XDP chain.
    Xdp {
        /// The interface.
        interface: Interface,
        /// 0 runs first.
        priority: i32,
        /// When the next member runs.
        proceed_on: ProceedOn,
    },
    /// An interface's traffic control chain.
    Tc {
        /// The interface.
        interface: Interface,
        /// Which way.
        direction: Direction,
        /// 0 runs first.
        priority: i32,
        /// When the next member runs.
        proceed_on: ProceedOn,
    },
    /// The kernel's own list of links at an interface's traffic control hook.
    Tcx {
        /// The interface.
        interface: Interface,
        /// Which way.
        direction: Direction,
        /// 0 runs first.
        priority: i32,
    },
    /// A static trace point.
    Tracepoint {
        /// Folder of the trace point, for example `syscalls`.
        category: String,
        /// Its name, for example `sys_enter_openat`.
        name: String,
    },
    /// A kernel function, its entry or return by the program's type.
    Kprobe {
        /// Symbol.
        function: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// A user-space function, its entry or return by the program's type.
    Uprobe {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Symbol in it; none: `offset` counts from the start of the file.
        function: Option<String>,
        /// Bytes.
        offset: u64,
        /// Which processes.
        scope: ProcessScope,
    },
    /// The function an fentry program was loaded for.
    Fentry,
    /// The function an fexit program was loaded for.
    Fexit,
    /// The hook an LSM program was loaded for.
    Lsm,
    /// A static trace point, by its name alone.
    RawTracepoint {
        /// Its name, for example `sched_switch`.
        name: String,
    },
    /// The trace point that a program with typed arguments was loaded for.
    BtfTracepoint,
    /// The function whose return value a program was loaded for.
    FmodRet,
    /// What an iterator was loaded for: whoever reads its link has it run.
    Iter,
    /// Kernel functions, by one link.
    KprobeMulti {
        /// Names and patterns of names.
        functions: Vec<FunctionPattern>,
    },
    /// User-space functions of one binary, by one link.
    UprobeMulti {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Symbols in it.
        functions: Vec<String>,
        /// Which processes.
        scope: ProcessScope,
    },
    /// A control group of version 2 and all below it, at the hook that the program was loaded for.
    Cgroup {
        /// Which one.
        path: CgroupPath,
    },
    /// A network namespace.
    Netns {
        /// Its file; none for the daemon's own namespace.
        netns: Option<PathBuf>,
    },
    /// A netfilter hook of a network namespace.
    Netfilter {
        /// The namespace's file; none for the daemon's own.
        netns: Option<PathBuf>,
        /// Which hook, and when among the others there.
        place: NetfilterPlace,
    },
    /// A map of sockets, at the hook that the program was loaded for.
    Sockmap {
        /// One of the program's own maps, by its name in the object.
        map: String,
    },
    /// A netkit device, at the end that the program was loaded for, behind the programs that are there.
    Netkit {
        /// Its primary end.
        interface: Interface,
    },
    /// A static probe of a binary.
    Usdt {
        /// Absolute path of a binary, or a library's name.
        target: String,
        /// Whose probe.
        provider: String,
        /// Its name.
        name: String,
        /// Which processes.
        scope: ProcessScope,
    },
    /// A system call.
    Ksyscall {
        /// Its name: `openat`.
        name: String,
    },
    /// The kernel's list of what it calls by name, such as algorithms of congestion control.
    StructOps {
        /// The map that holds the structure, one of the program's own, by its name in the object.
        map: String,
    },
    /// A perf event.
    PerfEvent {
        /// What is counted, and where.
        place: PerfEventPlace,
    },
    /// The function of another program that a program was loaded for.
    Freplace,
}

impl AttachPoint {
    /// Its priority, to be changed; none where it has none.
    pub const fn priority_mut(&mut self) -> Option<&mut i32> {
        match self {
            Self::Xdp { priority, .. } | Self::Tc { priority, .. } | Self::Tcx { priority, .. } => {
                Some(priority)
            }
            _ => None,
        }
    }

    /// Its interface, to be changed; none where it has none.
    pub const fn interface_mut(&mut self) -> Option<&mut Interface> {
        match self {
            Self::Xdp { interface, .. } | Self::Tc { interface, .. } | Self::Tcx { interface, .. } => {
                Some(interface)
            }
            _ => None,
        }
    }

    /// True if programs of this type fit here.
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

    /// What the point is called in messages.
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

    /// The interface and the kind of hook, for points in the network.
    #[must_use]
    pub fn hook(&self) -> Option<(&Interface, HookKind)> {
        match self {
            Self::Xdp { interface, .. } => Some((interface, HookKind::Xdp)),
            Self::Tc { interface, direction, .. } => Some((interface, HookKind::Tc(*direction))),
            Self::Tcx { interface, direction, .. } => Some((interface, HookKind::Tcx(*direction))),
            _ => None,
        }
    }

    /// The network namespace that the point itself is at, by its file; none inside for the daemon's own.
    #[must_use]
    pub const fn netns(&self) -> Option<&Option<PathBuf>> {
        match self {
            Self::Netns { netns } | Self::Netfilter { netns, .. } => Some(netns),
            Self::Netkit { interface } => Some(&interface.netns),
            _ => None,
        }
    }

    /// True for points whose links the kernel lets run another program, without a gap. Members of chains have no links.
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

    /// True for points that take a link for each CPU, pinned in a folder.
    #[must_use]
    pub const fn is_per_cpu(&self) -> bool {
        matches!(self, Self::PerfEvent { place } if place.is_per_cpu())
    }

    /// True for points that are what their program was loaded for.
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

    /// The priority, where links have an order.
    #[must_use]
    pub const fn priority(&self) -> Option<i32> {
        match self {
            Self::Xdp { priority, .. } | Self::Tc { priority, .. } | Self::Tcx { priority, .. } => {
                Some(*priority)
            }
            _ => None,
        }
    }

    /// Gives a member all verdicts that there are as its set; answers the one that it had.
    pub fn widen(&mut self) -> Option<ProceedOn> {
        match self {
            Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. } => {
                let all = ProceedOn::all(proceed_on.family());
                Some(std::mem::replace(proceed_on, all))
            }
            _ => None,
        }
    }

    /// Gives a member its set back, if there is one.
    pub fn narrow(&mut self, set: Option<ProceedOn>) {
        if let (Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. }, Some(set)) = (self, set) {
            *proceed_on = set;
        }
    }

    /// The proceed-on set, where members of a chain have one.
    #[must_use]
    pub const fn proceed_on(&self) -> Option<ProceedOn> {
        match self {
            Self::Xdp { proceed_on, .. } | Self::Tc { proceed_on, .. } => Some(*proceed_on),
            _ => None,
        }
    }
}

/// The point in the words of v0.6.0's tables, without the position in a chain.
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

/// Names in one line, which may be many.
fn several(names: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 3;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// A network namespace, for people.
fn netns_text(netns: Option<&Path>) -> String {
    netns.map_or_else(|| "own netns".to_owned(), |netns| netns.display().to_string())
}

//! The kinds of programs that this manager loads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::uapi::prog_type;

/// What a program is to its users. Entry and return probes are told apart, although the kernel loads both the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// A static trace point, with the arguments as the kernel has them.
    RawTracepoint,
    /// The same with typed arguments, by BTF.
    BtfTracepoint,
    /// Return value of a kernel function that allows it, by BTF and trampoline.
    FmodRet,
    /// What the kernel has of one kind (tasks, maps, sockets, ...), one by one, for a reader.
    Iter,
    /// Packets of the sockets of a control group.
    CgroupSkb,
    /// Sockets of a control group: made, bound, released.
    CgroupSock,
    /// Addresses that tasks of a control group bind, connect and send to.
    CgroupSockAddr,
    /// Options that tasks of a control group set and read of sockets.
    CgroupSockopt,
    /// Kernel parameters that tasks of a control group read and write.
    CgroupSysctl,
    /// Devices that tasks of a control group make, read and write.
    CgroupDevice,
    /// Events of the TCP connections of a control group.
    SockOps,
    /// A Linux Security Module hook, for the tasks of a control group.
    LsmCgroup,
    /// Which socket of a network namespace takes a connection or packet.
    SkLookup,
    /// How packets of a network namespace are taken apart into flows.
    FlowDissector,
    /// Packets at a netfilter hook of a network namespace.
    Netfilter,
    /// Entries of many kernel functions, by one link.
    KprobeMulti,
    /// Returns from many kernel functions, by one link.
    KretprobeMulti,
    /// Entries of many kernel functions, and the returns that the entry asks for.
    KprobeSession,
    /// Entries of many user-space functions, by one link.
    UprobeMulti,
    /// Returns from many user-space functions, by one link.
    UretprobeMulti,
    /// A perf event: what is counted by the kernel or by the CPU came to a number.
    PerfEvent,
    /// What arrives for the sockets that a map holds.
    SkSkb,
    /// What is sent by the sockets that a map holds.
    SkMsg,
    /// Packets of one socket, for who opens the program and gives it to the socket.
    SocketFilter,
    /// Which of several sockets at one port takes a packet, given to them likewise.
    SkReuseport,
    /// A function of a structure that the kernel calls by name, such as an algorithm of TCP's congestion control.
    StructOps,
    /// Entries of many user-space functions, and the returns that the entry asks for.
    UprobeSession,
    /// Packets between the two ends of a netkit device.
    Netkit,
    /// A static probe that a user-space binary has by its notes.
    Usdt,
    /// Entry of a system call, by its name.
    Ksyscall,
    /// Return from a system call, by its name.
    Kretsyscall,
    /// A static trace point that hands a buffer of its own, which the program may write.
    RawTracepointWritable,
    /// The same, asked too where the connections of a socket go that is closed.
    SkReuseportMigrate,
    /// Packets that a map of devices redirected, for who puts the program into its entry.
    XdpDevmap,
    /// Packets that a map of CPUs redirected, likewise.
    XdpCpumap,
    /// Packets that a route takes in, for who makes the route.
    LwtIn,
    /// Packets that a route lets out, likewise.
    LwtOut,
    /// Packets that a route transmits, likewise.
    LwtXmit,
    /// Packets at a segment of IPv6 segment routing, likewise.
    LwtSeg6local,
    /// Packets at an action of traffic control, for who makes the action.
    SchedAct,
    /// Nothing by itself: whoever opens the program runs it.
    Syscall,
    /// Signals of a remote control's receiver, for who attaches the program to it.
    LircMode2,
    /// A function of another program, whose place it takes.
    Freplace,
}

impl ProgramType {
    /// Every type, in the order in which lists show them.
    pub const ALL: [Self; 54] = [
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
        Self::RawTracepoint,
        Self::BtfTracepoint,
        Self::FmodRet,
        Self::Iter,
        Self::CgroupSkb,
        Self::CgroupSock,
        Self::CgroupSockAddr,
        Self::CgroupSockopt,
        Self::CgroupSysctl,
        Self::CgroupDevice,
        Self::SockOps,
        Self::LsmCgroup,
        Self::SkLookup,
        Self::FlowDissector,
        Self::Netfilter,
        Self::KprobeMulti,
        Self::KretprobeMulti,
        Self::KprobeSession,
        Self::UprobeMulti,
        Self::UretprobeMulti,
        Self::PerfEvent,
        Self::SkSkb,
        Self::SkMsg,
        Self::SocketFilter,
        Self::SkReuseport,
        Self::StructOps,
        Self::UprobeSession,
        Self::Netkit,
        Self::Usdt,
        Self::Ksyscall,
        Self::Kretsyscall,
        Self::RawTracepointWritable,
        Self::SkReuseportMigrate,
        Self::XdpDevmap,
        Self::XdpCpumap,
        Self::LwtIn,
        Self::LwtOut,
        Self::LwtXmit,
        Self::LwtSeg6local,
        Self::SchedAct,
        Self::Syscall,
        Self::LircMode2,
        Self::Freplace,
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
            Self::RawTracepoint => "raw_tracepoint",
            Self::BtfTracepoint => "tp_btf",
            Self::FmodRet => "fmod_ret",
            Self::Iter => "iter",
            Self::CgroupSkb => "cgroup_skb",
            Self::CgroupSock => "cgroup_sock",
            Self::CgroupSockAddr => "cgroup_sock_addr",
            Self::CgroupSockopt => "cgroup_sockopt",
            Self::CgroupSysctl => "cgroup_sysctl",
            Self::CgroupDevice => "cgroup_device",
            Self::SockOps => "sock_ops",
            Self::LsmCgroup => "lsm_cgroup",
            Self::SkLookup => "sk_lookup",
            Self::FlowDissector => "flow_dissector",
            Self::Netfilter => "netfilter",
            Self::KprobeMulti => "kprobe_multi",
            Self::KretprobeMulti => "kretprobe_multi",
            Self::KprobeSession => "kprobe_session",
            Self::UprobeMulti => "uprobe_multi",
            Self::UretprobeMulti => "uretprobe_multi",
            Self::PerfEvent => "perf_event",
            Self::SkSkb => "sk_skb",
            Self::SkMsg => "sk_msg",
            Self::SocketFilter => "socket_filter",
            Self::SkReuseport => "sk_reuseport",
            Self::StructOps => "struct_ops",
            Self::UprobeSession => "uprobe_session",
            Self::Netkit => "netkit",
            Self::Usdt => "usdt",
            Self::Ksyscall => "ksyscall",
            Self::Kretsyscall => "kretsyscall",
            Self::RawTracepointWritable => "raw_tracepoint_writable",
            Self::SkReuseportMigrate => "sk_reuseport_migrate",
            Self::XdpDevmap => "xdp_devmap",
            Self::XdpCpumap => "xdp_cpumap",
            Self::LwtIn => "lwt_in",
            Self::LwtOut => "lwt_out",
            Self::LwtXmit => "lwt_xmit",
            Self::LwtSeg6local => "lwt_seg6local",
            Self::SchedAct => "sched_act",
            Self::Syscall => "syscall",
            Self::LircMode2 => "lirc_mode2",
            Self::Freplace => "freplace",
        }
    }

    /// The kernel's `enum bpf_prog_type` number.
    #[must_use]
    pub const fn kernel_type(self) -> u32 {
        match self {
            Self::Kprobe
            | Self::Kretprobe
            | Self::Uprobe
            | Self::Uretprobe
            | Self::KprobeMulti
            | Self::KretprobeMulti
            | Self::KprobeSession
            | Self::UprobeMulti
            | Self::UretprobeMulti
            | Self::UprobeSession
            | Self::Usdt
            | Self::Ksyscall
            | Self::Kretsyscall => prog_type::KPROBE,
            Self::Tc | Self::Tcx | Self::Netkit => prog_type::SCHED_CLS,
            Self::Tracepoint => prog_type::TRACEPOINT,
            Self::Xdp | Self::XdpDevmap | Self::XdpCpumap => prog_type::XDP,
            Self::Fentry | Self::Fexit | Self::BtfTracepoint | Self::FmodRet | Self::Iter => {
                prog_type::TRACING
            }
            Self::Lsm | Self::LsmCgroup => prog_type::LSM,
            Self::RawTracepoint => prog_type::RAW_TRACEPOINT,
            Self::CgroupSkb => prog_type::CGROUP_SKB,
            Self::CgroupSock => prog_type::CGROUP_SOCK,
            Self::CgroupSockAddr => prog_type::CGROUP_SOCK_ADDR,
            Self::CgroupSockopt => prog_type::CGROUP_SOCKOPT,
            Self::CgroupSysctl => prog_type::CGROUP_SYSCTL,
            Self::CgroupDevice => prog_type::CGROUP_DEVICE,
            Self::SockOps => prog_type::SOCK_OPS,
            Self::SkLookup => prog_type::SK_LOOKUP,
            Self::FlowDissector => prog_type::FLOW_DISSECTOR,
            Self::Netfilter => prog_type::NETFILTER,
            Self::PerfEvent => prog_type::PERF_EVENT,
            Self::SkSkb => prog_type::SK_SKB,
            Self::SkMsg => prog_type::SK_MSG,
            Self::SocketFilter => prog_type::SOCKET_FILTER,
            Self::SkReuseport | Self::SkReuseportMigrate => prog_type::SK_REUSEPORT,
            Self::StructOps => prog_type::STRUCT_OPS,
            Self::RawTracepointWritable => prog_type::RAW_TRACEPOINT_WRITABLE,
            Self::LwtIn => prog_type::LWT_IN,
            Self::LwtOut => prog_type::LWT_OUT,
            Self::LwtXmit => prog_type::LWT_XMIT,
            Self::LwtSeg6local => prog_type::LWT_SEG6LOCAL,
            Self::SchedAct => prog_type::SCHED_ACT,
            Self::Syscall => prog_type::SYSCALL,
            Self::LircMode2 => prog_type::LIRC_MODE2,
            Self::Freplace => prog_type::EXT,
        }
    }

    /// True for types that have to be told at load what in the kernel they attach to.
    #[must_use]
    pub const fn needs_load_target(self) -> bool {
        self.load_target().is_some()
    }

    /// What programs of this type have to be told at load, if they have to be told something.
    #[must_use]
    pub const fn load_target(self) -> Option<LoadTarget> {
        Some(match self {
            Self::Fentry | Self::Fexit | Self::FmodRet => LoadTarget::Function,
            Self::Lsm | Self::LsmCgroup => LoadTarget::LsmHook,
            Self::BtfTracepoint => LoadTarget::Tracepoint,
            Self::Iter => LoadTarget::Iterator,
            Self::StructOps => LoadTarget::StructMember,
            Self::Freplace => LoadTarget::ProgramFunction,
            Self::CgroupSkb
            | Self::CgroupSock
            | Self::CgroupSockAddr
            | Self::CgroupSockopt
            | Self::SkSkb
            | Self::Netkit => LoadTarget::SocketHook,
            _ => return None,
        })
    }

    /// What programs of this type attach to.
    #[must_use]
    pub const fn scope(self) -> TypeScope {
        match self {
            Self::Xdp | Self::Tc | Self::Tcx => TypeScope::Interface,
            Self::CgroupSkb
            | Self::CgroupSock
            | Self::CgroupSockAddr
            | Self::CgroupSockopt
            | Self::CgroupSysctl
            | Self::CgroupDevice
            | Self::SockOps
            | Self::LsmCgroup => TypeScope::Cgroup,
            Self::SkLookup | Self::FlowDissector | Self::Netfilter | Self::Netkit => TypeScope::Netns,
            Self::Iter => TypeScope::Reader,
            Self::PerfEvent => TypeScope::Cpus,
            Self::SkSkb | Self::SkMsg => TypeScope::Sockets,
            Self::SocketFilter
            | Self::SkReuseport
            | Self::SkReuseportMigrate
            | Self::XdpDevmap
            | Self::XdpCpumap
            | Self::LwtIn
            | Self::LwtOut
            | Self::LwtXmit
            | Self::LwtSeg6local
            | Self::SchedAct
            | Self::Syscall
            | Self::LircMode2 => TypeScope::Opener,
            Self::StructOps => TypeScope::Kernel,
            Self::Freplace => TypeScope::Program,
            _ => TypeScope::Tasks,
        }
    }

    /// True for the probes that fire when a function returns.
    #[must_use]
    pub const fn is_return_probe(self) -> bool {
        matches!(
            self,
            Self::Kretprobe
                | Self::Uretprobe
                | Self::KretprobeMulti
                | Self::UretprobeMulti
                | Self::Kretsyscall
        )
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

/// What a program has to be told at load: what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadTarget {
    /// A kernel function, by its name; `MODULE:FUNCTION` for one of a module.
    Function,
    /// A hook of the Linux Security Modules, such as `file_open`.
    LsmHook,
    /// A trace point, without its category: `sched_switch`.
    Tracepoint,
    /// What the kernel can list: `task`, `bpf_map`.
    Iterator,
    /// One of the hooks of a type for control groups or maps of sockets: `connect4` ([`crate::SocketHook`]).
    SocketHook,
    /// A member of a structure of the kernel's: `tcp_congestion_ops.init`.
    StructMember,
    /// A function of a loaded program, by the program's id: `1234:limit` ([`crate::ReplacedFunction`]).
    ProgramFunction,
}

impl LoadTarget {
    /// What it is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "kernel function",
            Self::LsmHook | Self::SocketHook => "hook",
            Self::Tracepoint => "trace point",
            Self::Iterator => "kind of objects",
            Self::StructMember => "member of a structure of functions",
            Self::ProgramFunction => "function of another program",
        }
    }
}

/// For whom programs of a type run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeScope {
    /// For packets at one interface.
    Interface,
    /// For tasks and sockets of one control group and all below it.
    Cgroup,
    /// For one network namespace.
    Netns,
    /// For whoever reads what they write.
    Reader,
    /// For whatever is on the CPUs, or for one thread.
    Cpus,
    /// For the sockets that a map holds.
    Sockets,
    /// For what whoever opens the program gives it to: this manager attaches it nowhere.
    Opener,
    /// For the whole machine, wherever the kernel calls what they are a part of.
    Kernel,
    /// For whatever the program runs for whose function they take the place of.
    Program,
    /// For whatever task meets them.
    Tasks,
}

/// A program type that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown program type \"{0}\": expected one of {names}", names = names())]
pub struct UnknownProgramType(pub String);

fn names() -> String {
    ProgramType::ALL.map(ProgramType::name).join(", ")
}

impl FromStr for ProgramType {
    type Err = UnknownProgramType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|t| t.name() == name).ok_or_else(|| UnknownProgramType(name.to_owned()))
    }
}

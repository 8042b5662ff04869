//! Types of programs that this manager loads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::uapi::prog_type;

/// Type of a program, as users see it. The kernel loads entry and return probes as one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramType {
    /// Packets as a network driver receives them.
    Xdp,
    /// Packets at a traffic control hook, chained by this manager.
    Tc,
    /// Packets at a traffic control hook, chained by the kernel itself (Linux 6.6 and later).
    Tcx,
    /// Tracepoint.
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
    /// Linux Security Module hook.
    Lsm,
    /// Raw tracepoint, with the arguments as the kernel has them.
    RawTracepoint,
    /// Tracepoint with typed arguments, by BTF.
    BtfTracepoint,
    /// Return value of a kernel function that allows it, by BTF and trampoline.
    FmodRet,
    /// Iterator over the kernel's objects of one kind (tasks, maps, sockets, ...), for a reader.
    Iter,
    /// Packets of the sockets of a cgroup.
    CgroupSkb,
    /// Sockets of a cgroup: created, bound, released.
    CgroupSock,
    /// Addresses that tasks of a cgroup bind, connect and send to.
    CgroupSockAddr,
    /// Options of sockets that tasks of a cgroup set and read.
    CgroupSockopt,
    /// Kernel parameters that tasks of a cgroup read and write.
    CgroupSysctl,
    /// Devices that tasks of a cgroup create, read and write.
    CgroupDevice,
    /// Events of the TCP connections of a cgroup.
    SockOps,
    /// Linux Security Module hook, for the tasks of a cgroup.
    LsmCgroup,
    /// Selection of the socket of a network namespace that receives a connection or packet.
    SkLookup,
    /// Dissection of packets of a network namespace into flows.
    FlowDissector,
    /// Packets at a netfilter hook of a network namespace.
    Netfilter,
    /// Entries of many kernel functions, by one link.
    KprobeMulti,
    /// Returns from many kernel functions, by one link.
    KretprobeMulti,
    /// Entries of many kernel functions, and the returns that the program requests at the entry.
    KprobeSession,
    /// Entries of many user-space functions, by one link.
    UprobeMulti,
    /// Returns from many user-space functions, by one link.
    UretprobeMulti,
    /// Perf event: a counter of the kernel or the CPU has reached a number.
    PerfEvent,
    /// Data that arrives for the sockets of a sockmap.
    SkSkb,
    /// Data that the sockets of a sockmap send.
    SkMsg,
    /// Packets of one socket. A process opens the program and attaches it to the socket.
    SocketFilter,
    /// Selection of the socket that receives a packet, among several at one port. A process attaches it to them.
    SkReuseport,
    /// struct_ops: function of a structure that the kernel calls by name, such as a TCP congestion control algorithm.
    StructOps,
    /// Entries of many user-space functions, and the returns that the program requests at the entry.
    UprobeSession,
    /// Packets between the two ends of a netkit device.
    Netkit,
    /// USDT probe, which a user-space binary has in its notes.
    Usdt,
    /// Entry of a system call, by its name.
    Ksyscall,
    /// Return from a system call, by its name.
    Kretsyscall,
    /// Raw tracepoint with a buffer that the program may write.
    RawTracepointWritable,
    /// Selection as by `SkReuseport`, and of the socket that gets the connections of a closed one.
    SkReuseportMigrate,
    /// Packets that a devmap redirected. A process puts the program into an entry of the map.
    XdpDevmap,
    /// Packets that a cpumap redirected. A process puts the program into an entry of the map.
    XdpCpumap,
    /// Packets that a route receives. A process creates the route with the program.
    LwtIn,
    /// Packets that a route lets out. A process creates the route with the program.
    LwtOut,
    /// Packets that a route transmits. A process creates the route with the program.
    LwtXmit,
    /// Packets at a segment of IPv6 segment routing. A process creates the route with the program.
    LwtSeg6local,
    /// Packets at a traffic control action. A process creates the action with the program.
    SchedAct,
    /// Program without an event: the process that opens it runs it.
    Syscall,
    /// Signals of a remote control's receiver. A process attaches the program to it.
    LircMode2,
    /// Function that replaces one of another program.
    Freplace,
}

impl ProgramType {
    /// All types, in the order of lists.
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

    /// Returns the name of the type for users, in lower case.
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

    /// Returns the number in the kernel's `enum bpf_prog_type`.
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

    /// Returns whether the type needs a target in the kernel at load.
    #[must_use]
    pub const fn needs_load_target(self) -> bool {
        self.load_target().is_some()
    }

    /// Returns the kind of target that the type needs at load; `None` if it needs none.
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

    /// Returns the scope of programs of this type.
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

    /// Returns whether the type is a probe that fires when a function returns.
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

    /// Returns the type that clients of the published API declare: for return probes, that of the entry probe.
    #[must_use]
    pub const fn declared(self) -> Self {
        match self {
            Self::Kretprobe => Self::Kprobe,
            Self::Uretprobe => Self::Uprobe,
            other => other,
        }
    }

    /// Returns whether programs of this type share a hook in a chain that this manager compiles.
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

/// Kind of the target that a program needs at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadTarget {
    /// Kernel function, by its name; `MODULE:FUNCTION` for one of a module.
    Function,
    /// Hook of the Linux Security Modules, such as `file_open`.
    LsmHook,
    /// Tracepoint, without its category: `sched_switch`.
    Tracepoint,
    /// Kind of kernel objects: `task`, `bpf_map`.
    Iterator,
    /// Hook of a type for cgroups, sockmaps or netkit devices: `connect4` ([`crate::SocketHook`]).
    SocketHook,
    /// Member of a kernel structure: `tcp_congestion_ops.init`.
    StructMember,
    /// Function of a loaded program, by the program's id: `1234:limit` ([`crate::ReplacedFunction`]).
    ProgramFunction,
}

impl LoadTarget {
    /// Returns the name of the kind in messages.
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

/// Scope of programs of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeScope {
    /// Packets at one interface.
    Interface,
    /// Tasks and sockets of one cgroup and all below it.
    Cgroup,
    /// One network namespace.
    Netns,
    /// Readers of the output.
    Reader,
    /// Everything on the CPUs, or one thread.
    Cpus,
    /// Sockets of a map.
    Sockets,
    /// Objects to which the process that opens the program attaches it: this manager attaches it nowhere.
    Opener,
    /// Whole machine, wherever the kernel calls the object that they are a part of.
    Kernel,
    /// Scope of the program with the replaced function.
    Program,
    /// All tasks that reach them.
    Tasks,
}

/// Unknown type of programs.
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

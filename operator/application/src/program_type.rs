//! Program types: their names in manifests and in the daemon, the block of each, and the types that need a target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of programs of cluster applications. The first ten are those of the published API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClusterProgramType {
    /// Block `xdp`.
    #[serde(rename = "XDP")]
    Xdp,
    /// Block `tc`.
    #[serde(rename = "TC")]
    Tc,
    /// Block `tcx`.
    #[serde(rename = "TCX")]
    Tcx,
    /// Block `fentry`.
    FEntry,
    /// Block `fexit`.
    FExit,
    /// Block `kprobe`.
    KProbe,
    /// Block `kretprobe`.
    KRetProbe,
    /// Block `uprobe`.
    UProbe,
    /// Block `uretprobe`.
    URetProbe,
    /// Block `tracepoint`.
    TracePoint,
    /// A trace point with the arguments as the kernel has them. Block `rawTracepoint`.
    RawTracePoint,
    /// A trace point that hands a buffer which the program may write. Block `rawTracepoint`.
    RawTracePointWritable,
    /// A trace point with typed arguments; `target` is its name. Block `loadedFor`.
    TpBtf,
    /// Return value of a kernel function; `target` is its name. Block `loadedFor`.
    FModRet,
    /// A hook of Linux Security Modules; `target` is its name. Block `loadedFor`.
    Lsm,
    /// Iterator over kernel objects of one kind; `target` is the kind. Block `loadedFor`.
    Iter,
    /// Packets of a cgroup's sockets; `target` is the hook. Block `cgroup`.
    CgroupSkb,
    /// Sockets of a cgroup; `target` is the hook. Block `cgroup`.
    CgroupSock,
    /// Addresses that tasks of a cgroup bind, connect and send to; `target` is the hook. Block `cgroup`.
    CgroupSockAddr,
    /// Options of sockets of a cgroup; `target` is the hook. Block `cgroup`.
    CgroupSockopt,
    /// Kernel parameters that tasks of a cgroup read and write. Block `cgroup`.
    CgroupSysctl,
    /// Devices that tasks of a cgroup open and make. Block `cgroup`.
    CgroupDevice,
    /// Events of a cgroup's TCP connections. Block `cgroup`.
    SockOps,
    /// A hook of Linux Security Modules, for tasks of a cgroup; `target` is its name. Block `cgroup`.
    LsmCgroup,
    /// Selection of the socket that receives a packet, in a network namespace. Block `netns`.
    SkLookup,
    /// Dissection of packets into flow keys, in a network namespace. Block `netns`.
    FlowDissector,
    /// Packets at a netfilter hook. Block `netfilter`.
    Netfilter,
    /// Entries of many kernel functions. Block `kprobeMulti`.
    KProbeMulti,
    /// Returns from many kernel functions. Block `kprobeMulti`.
    KRetProbeMulti,
    /// Entries of many kernel functions, and returns that the entry asks for. Block `kprobeMulti`.
    KProbeSession,
    /// Entries of many user-space functions. Block `uprobeMulti`.
    UProbeMulti,
    /// Returns from many user-space functions. Block `uprobeMulti`.
    URetProbeMulti,
    /// Entries of many user-space functions, and returns that the entry asks for. Block `uprobeMulti`.
    UProbeSession,
    /// A counter of the kernel or the CPU. Block `perfEvent`.
    PerfEvent,
    /// Data received by the sockets of a sockmap; `target` is the hook. Block `sockmap`.
    SkSkb,
    /// Messages sent by the sockets of a sockmap. Block `sockmap`.
    SkMsg,
    /// A function of a struct_ops map; `target` is `STRUCTURE.MEMBER`. Block `structOps`.
    StructOps,
    /// A USDT probe of a binary. Block `usdt`.
    Usdt,
    /// Entry of a system call. Block `ksyscall`.
    KSyscall,
    /// Return from a system call. Block `ksyscall`.
    KRetSyscall,
    /// Packets of a netkit device; `target` is the end. Block `netkit`.
    Netkit,
    /// Loaded only: root gives it to a socket.
    SocketFilter,
    /// Loaded only: root gives it to sockets of one port.
    SkReuseport,
    /// Loaded only: the same, called also when a socket is closed.
    SkReuseportMigrate,
    /// Loaded only: for the entries of a map of devices.
    XdpDevmap,
    /// Loaded only: for the entries of a map of CPUs.
    XdpCpumap,
    /// Loaded only: for routes, packets that come in.
    LwtIn,
    /// Loaded only: for routes, packets that go out.
    LwtOut,
    /// Loaded only: for routes, packets that are transmitted.
    LwtXmit,
    /// Loaded only: for routes of IPv6 segment routing.
    LwtSeg6local,
    /// Loaded only: for actions of traffic control.
    SchedAct,
    /// Loaded only: run by the process that opens it.
    Syscall,
    /// Loaded only: for receivers of remote controls.
    LircMode2,
}

/// Types of programs of namespaced applications: the others are of the whole node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacedProgramType {
    /// Block `xdp`.
    #[serde(rename = "XDP")]
    Xdp,
    /// Block `tc`.
    #[serde(rename = "TC")]
    Tc,
    /// Block `tcx`.
    #[serde(rename = "TCX")]
    Tcx,
    /// Block `uprobe`.
    UProbe,
    /// Block `uretprobe`.
    URetProbe,
}

impl From<NamespacedProgramType> for ClusterProgramType {
    fn from(kind: NamespacedProgramType) -> Self {
        match kind {
            NamespacedProgramType::Xdp => Self::Xdp,
            NamespacedProgramType::Tc => Self::Tc,
            NamespacedProgramType::Tcx => Self::Tcx,
            NamespacedProgramType::UProbe => Self::UProbe,
            NamespacedProgramType::URetProbe => Self::URetProbe,
        }
    }
}

impl ClusterProgramType {
    /// All types, in the order of the documentation.
    pub const ALL: [Self; 53] = [
        Self::Xdp,
        Self::Tc,
        Self::Tcx,
        Self::FEntry,
        Self::FExit,
        Self::KProbe,
        Self::KRetProbe,
        Self::UProbe,
        Self::URetProbe,
        Self::TracePoint,
        Self::RawTracePoint,
        Self::RawTracePointWritable,
        Self::TpBtf,
        Self::FModRet,
        Self::Lsm,
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
        Self::KProbeMulti,
        Self::KRetProbeMulti,
        Self::KProbeSession,
        Self::UProbeMulti,
        Self::URetProbeMulti,
        Self::UProbeSession,
        Self::PerfEvent,
        Self::SkSkb,
        Self::SkMsg,
        Self::StructOps,
        Self::Usdt,
        Self::KSyscall,
        Self::KRetSyscall,
        Self::Netkit,
        Self::SocketFilter,
        Self::SkReuseport,
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
    ];

    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Xdp => ("XDP", "xdp"),
            Self::Tc => ("TC", "tc"),
            Self::Tcx => ("TCX", "tcx"),
            Self::FEntry => ("FEntry", "fentry"),
            Self::FExit => ("FExit", "fexit"),
            Self::KProbe => ("KProbe", "kprobe"),
            Self::KRetProbe => ("KRetProbe", "kretprobe"),
            Self::UProbe => ("UProbe", "uprobe"),
            Self::URetProbe => ("URetProbe", "uretprobe"),
            Self::TracePoint => ("TracePoint", "tracepoint"),
            Self::RawTracePoint => ("RawTracePoint", "raw_tracepoint"),
            Self::RawTracePointWritable => ("RawTracePointWritable", "raw_tracepoint_writable"),
            Self::TpBtf => ("TpBtf", "tp_btf"),
            Self::FModRet => ("FModRet", "fmod_ret"),
            Self::Lsm => ("Lsm", "lsm"),
            Self::Iter => ("Iter", "iter"),
            Self::CgroupSkb => ("CgroupSkb", "cgroup_skb"),
            Self::CgroupSock => ("CgroupSock", "cgroup_sock"),
            Self::CgroupSockAddr => ("CgroupSockAddr", "cgroup_sock_addr"),
            Self::CgroupSockopt => ("CgroupSockopt", "cgroup_sockopt"),
            Self::CgroupSysctl => ("CgroupSysctl", "cgroup_sysctl"),
            Self::CgroupDevice => ("CgroupDevice", "cgroup_device"),
            Self::SockOps => ("SockOps", "sock_ops"),
            Self::LsmCgroup => ("LsmCgroup", "lsm_cgroup"),
            Self::SkLookup => ("SkLookup", "sk_lookup"),
            Self::FlowDissector => ("FlowDissector", "flow_dissector"),
            Self::Netfilter => ("Netfilter", "netfilter"),
            Self::KProbeMulti => ("KProbeMulti", "kprobe_multi"),
            Self::KRetProbeMulti => ("KRetProbeMulti", "kretprobe_multi"),
            Self::KProbeSession => ("KProbeSession", "kprobe_session"),
            Self::UProbeMulti => ("UProbeMulti", "uprobe_multi"),
            Self::URetProbeMulti => ("URetProbeMulti", "uretprobe_multi"),
            Self::UProbeSession => ("UProbeSession", "uprobe_session"),
            Self::PerfEvent => ("PerfEvent", "perf_event"),
            Self::SkSkb => ("SkSkb", "sk_skb"),
            Self::SkMsg => ("SkMsg", "sk_msg"),
            Self::StructOps => ("StructOps", "struct_ops"),
            Self::Usdt => ("Usdt", "usdt"),
            Self::KSyscall => ("KSyscall", "ksyscall"),
            Self::KRetSyscall => ("KRetSyscall", "kretsyscall"),
            Self::Netkit => ("Netkit", "netkit"),
            Self::SocketFilter => ("SocketFilter", "socket_filter"),
            Self::SkReuseport => ("SkReuseport", "sk_reuseport"),
            Self::SkReuseportMigrate => ("SkReuseportMigrate", "sk_reuseport_migrate"),
            Self::XdpDevmap => ("XdpDevmap", "xdp_devmap"),
            Self::XdpCpumap => ("XdpCpumap", "xdp_cpumap"),
            Self::LwtIn => ("LwtIn", "lwt_in"),
            Self::LwtOut => ("LwtOut", "lwt_out"),
            Self::LwtXmit => ("LwtXmit", "lwt_xmit"),
            Self::LwtSeg6local => ("LwtSeg6local", "lwt_seg6local"),
            Self::SchedAct => ("SchedAct", "sched_act"),
            Self::Syscall => ("Syscall", "syscall"),
            Self::LircMode2 => ("LircMode2", "lirc_mode2"),
        }
    }

    /// Returns the name in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.names().0
    }

    /// Returns the name that the daemon and its command line use.
    #[must_use]
    pub const fn exact(self) -> &'static str {
        self.names().1
    }

    /// Returns the block that has the attach points, or `None` if the daemon only loads programs of the type.
    #[must_use]
    pub const fn block(self) -> Option<&'static str> {
        Some(match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::Tcx => "tcx",
            Self::FEntry => "fentry",
            Self::FExit => "fexit",
            Self::KProbe => "kprobe",
            Self::KRetProbe => "kretprobe",
            Self::UProbe => "uprobe",
            Self::URetProbe => "uretprobe",
            Self::TracePoint => "tracepoint",
            Self::RawTracePoint | Self::RawTracePointWritable => "rawTracepoint",
            Self::TpBtf | Self::FModRet | Self::Lsm | Self::Iter => "loadedFor",
            Self::CgroupSkb
            | Self::CgroupSock
            | Self::CgroupSockAddr
            | Self::CgroupSockopt
            | Self::CgroupSysctl
            | Self::CgroupDevice
            | Self::SockOps
            | Self::LsmCgroup => "cgroup",
            Self::SkLookup | Self::FlowDissector => "netns",
            Self::Netfilter => "netfilter",
            Self::KProbeMulti | Self::KRetProbeMulti | Self::KProbeSession => "kprobeMulti",
            Self::UProbeMulti | Self::URetProbeMulti | Self::UProbeSession => "uprobeMulti",
            Self::PerfEvent => "perfEvent",
            Self::SkSkb | Self::SkMsg => "sockmap",
            Self::StructOps => "structOps",
            Self::Usdt => "usdt",
            Self::KSyscall | Self::KRetSyscall => "ksyscall",
            Self::Netkit => "netkit",
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
            | Self::LircMode2 => return None,
        })
    }

    /// Returns whether programs of this type accept `target`.
    #[must_use]
    pub const fn takes_target(self) -> bool {
        matches!(
            self,
            Self::TpBtf
                | Self::FModRet
                | Self::Lsm
                | Self::Iter
                | Self::CgroupSkb
                | Self::CgroupSock
                | Self::CgroupSockAddr
                | Self::CgroupSockopt
                | Self::LsmCgroup
                | Self::SkSkb
                | Self::StructOps
                | Self::Netkit
        )
    }

    /// Returns the names of the types that a block belongs to.
    #[must_use]
    pub fn of_block(block: &str) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|kind| kind.block() == Some(block)).map(Self::name).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_type_is_listed_once_under_the_name_that_manifests_have() {
        let names: BTreeSet<_> = ClusterProgramType::ALL.into_iter().map(ClusterProgramType::name).collect();
        let exact: BTreeSet<_> = ClusterProgramType::ALL.into_iter().map(ClusterProgramType::exact).collect();
        assert_eq!(
            (names.len(), exact.len()),
            (ClusterProgramType::ALL.len(), ClusterProgramType::ALL.len())
        );
        for kind in ClusterProgramType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }

    #[test]
    fn a_block_is_of_all_types_that_attach_alike() {
        assert_eq!(ClusterProgramType::of_block("netns"), ["SkLookup", "FlowDissector"]);
        assert_eq!(ClusterProgramType::of_block("xdp"), ["XDP"]);
        assert_eq!(ClusterProgramType::of_block("cgroup").len(), 8);
        assert_eq!(ClusterProgramType::Syscall.block(), None);
    }
}

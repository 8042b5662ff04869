//! Table of all program types: one row per type.

use serde::{Deserialize, Serialize};

use super::row::{TypeRow, row};
use super::{LoadTarget as L, TypeScope as S};
use crate::uapi::{attach_type as A, prog_type as K};

/// Declares the type and its rows from a table.
macro_rules! program_types {
    ($($(#[doc = $doc:literal])* $name:ident = $row:expr;)*) => {
        /// Type of a program, as users see it. The kernel loads entry and return probes as one type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ProgramType {
            $($(#[doc = $doc])* $name,)*
        }

        /// Rows of the types, in their order.
        const ROWS: &[TypeRow] = &[$($row),*];

        impl ProgramType {
            /// All types, in the order of lists and of the names in manifests.
            pub const ALL: [Self; ROWS.len()] = [$(Self::$name),*];

            /// Returns the row of the type.
            pub(super) const fn row(self) -> &'static TypeRow {
                &ROWS[self as usize]
            }
        }
    };
}

program_types! {
    /// Packets as a network driver receives them.
    Xdp = row("xdp", K::XDP, S::Interface).expects(A::XDP).sections(&["xdp"]).frags().hook("xdp:IFACE")
        .manifest("XDP", "xdp").since(5, 9).link("BPF_LINK_TYPE_XDP");
    /// Packets at a traffic control hook, chained by this manager.
    Tc = row("tc", K::SCHED_CLS, S::Interface).sections(&["tc", "classifier"])
        .hook("tc:IFACE:ingress or tcx:IFACE:ingress").manifest("TC", "tc").since(4, 5);
    /// Packets at a traffic control hook, chained by the kernel itself (Linux 6.6 and later).
    Tcx = row("tcx", K::SCHED_CLS, S::Interface).sections(&["tcx"])
        .hook("tc:IFACE:ingress or tcx:IFACE:ingress").manifest("TCX", "tcx").since(6, 6)
        .attach("BPF_TCX_INGRESS").needs(&["tcx"]);
    /// Entry of a kernel function, by BTF and trampoline.
    Fentry = row("fentry", K::TRACING, S::Tasks).loaded_for(L::Function).expects(A::TRACE_FENTRY)
        .sections(&["fentry"]).sleepable().hook("fentry:FUNCTION").manifest("FEntry", "fentry").since(5, 7)
        .link("BPF_LINK_TYPE_TRACING");
    /// Exit of a kernel function, by BTF and trampoline.
    Fexit = row("fexit", K::TRACING, S::Tasks).loaded_for(L::Function).expects(A::TRACE_FEXIT)
        .sections(&["fexit"]).sleepable().hook("fexit:FUNCTION").manifest("FExit", "fexit").since(5, 7)
        .link("BPF_LINK_TYPE_TRACING");
    /// Entry of, or an offset in, a kernel function.
    Kprobe = row("kprobe", K::KPROBE, S::Tasks).sections(&["kprobe"]).hook("kprobe:FUNCTION")
        .manifest("KProbe", "kprobe").since(5, 15).link("BPF_LINK_TYPE_PERF_EVENT")
        .needs(&["kprobes", "perf_links"]);
    /// Return from a kernel function.
    Kretprobe = row("kretprobe", K::KPROBE, S::Tasks).on_return().sections(&["kretprobe"])
        .hook("kprobe:FUNCTION").manifest("KRetProbe", "kretprobe").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["kprobes", "perf_links"]);
    /// Entry of, or an offset in, a user-space function.
    Uprobe = row("uprobe", K::KPROBE, S::Tasks).sections(&["uprobe"]).sleepable()
        .hook("uprobe:FILE:FUNCTION").manifest("UProbe", "uprobe").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["uprobes", "perf_links"]);
    /// Return from a user-space function.
    Uretprobe = row("uretprobe", K::KPROBE, S::Tasks).on_return().sections(&["uretprobe"]).sleepable()
        .hook("uprobe:FILE:FUNCTION").manifest("URetProbe", "uretprobe").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["uprobes", "perf_links"]);
    /// Tracepoint.
    Tracepoint = row("tracepoint", K::TRACEPOINT, S::Tasks).sections(&["tracepoint", "tp"])
        .hook("tracepoint:CATEGORY/NAME").manifest("TracePoint", "tracepoint").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["perf_links"]);
    /// Raw tracepoint, with the arguments as the kernel has them.
    RawTracepoint = row("raw_tracepoint", K::RAW_TRACEPOINT, S::Tasks)
        .sections(&["raw_tracepoint", "raw_tp"]).hook("raw_tracepoint:NAME")
        .manifest("RawTracePoint", "rawTracepoint").since(5, 7).link("BPF_LINK_TYPE_RAW_TRACEPOINT");
    /// Raw tracepoint with a buffer that the program may write.
    RawTracepointWritable = row("raw_tracepoint_writable", K::RAW_TRACEPOINT_WRITABLE, S::Tasks)
        .sections(&["raw_tracepoint.w", "raw_tp.w"]).hook("raw_tracepoint:NAME")
        .manifest("RawTracePointWritable", "rawTracepoint").since(5, 7).link("BPF_LINK_TYPE_RAW_TRACEPOINT");
    /// Tracepoint with typed arguments, by BTF.
    BtfTracepoint = row("tp_btf", K::TRACING, S::Tasks).loaded_for(L::Tracepoint).expects(A::TRACE_RAW_TP)
        .sections(&["tp_btf"]).hook("tp_btf:NAME").manifest("TpBtf", "loadedFor").since(5, 7)
        .link("BPF_LINK_TYPE_TRACING");
    /// Return value of a kernel function that allows it, by BTF and trampoline.
    FmodRet = row("fmod_ret", K::TRACING, S::Tasks).loaded_for(L::Function).expects(A::MODIFY_RETURN)
        .sections(&["fmod_ret"]).sleepable().hook("fmod_ret:FUNCTION").manifest("FModRet", "loadedFor")
        .since(5, 7).link("BPF_LINK_TYPE_TRACING");
    /// Linux Security Module hook.
    Lsm = row("lsm", K::LSM, S::Tasks).loaded_for(L::LsmHook).expects(A::LSM_MAC).sections(&["lsm"])
        .sleepable().hook("lsm:HOOK").manifest("Lsm", "loadedFor").since(5, 7).link("BPF_LINK_TYPE_TRACING");
    /// Iterator over the kernel's objects of one kind (tasks, maps, sockets, ...), for a reader.
    Iter = row("iter", K::TRACING, S::Reader).loaded_for(L::Iterator).expects(A::TRACE_ITER)
        .sections(&["iter"]).sleepable().hook("iter:OBJECTS").manifest("Iter", "loadedFor").since(5, 8)
        .link("BPF_LINK_TYPE_ITER");
    /// Packets of the sockets of a cgroup.
    CgroupSkb = row("cgroup_skb", K::CGROUP_SKB, S::Cgroup).loaded_for(L::SocketHook)
        .sections(&["cgroup_skb"]).hook("cgroup:/PATH").manifest("CgroupSkb", "cgroup").since(5, 7)
        .link("BPF_LINK_TYPE_CGROUP");
    /// Sockets of a cgroup: created, bound, released.
    CgroupSock = row("cgroup_sock", K::CGROUP_SOCK, S::Cgroup).loaded_for(L::SocketHook)
        .hook("cgroup:/PATH").manifest("CgroupSock", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Addresses that tasks of a cgroup bind, connect and send to.
    CgroupSockAddr = row("cgroup_sock_addr", K::CGROUP_SOCK_ADDR, S::Cgroup).loaded_for(L::SocketHook)
        .hook("cgroup:/PATH").manifest("CgroupSockAddr", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Options of sockets that tasks of a cgroup set and read.
    CgroupSockopt = row("cgroup_sockopt", K::CGROUP_SOCKOPT, S::Cgroup).loaded_for(L::SocketHook)
        .hook("cgroup:/PATH").manifest("CgroupSockopt", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Kernel parameters that tasks of a cgroup read and write.
    CgroupSysctl = row("cgroup_sysctl", K::CGROUP_SYSCTL, S::Cgroup).hook("cgroup:/PATH")
        .manifest("CgroupSysctl", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Devices that tasks of a cgroup create, read and write.
    CgroupDevice = row("cgroup_device", K::CGROUP_DEVICE, S::Cgroup).hook("cgroup:/PATH")
        .manifest("CgroupDevice", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Events of the TCP connections of a cgroup.
    SockOps = row("sock_ops", K::SOCK_OPS, S::Cgroup).sections(&["sockops"]).hook("cgroup:/PATH")
        .manifest("SockOps", "cgroup").since(5, 7).link("BPF_LINK_TYPE_CGROUP");
    /// Linux Security Module hook, for the tasks of a cgroup.
    LsmCgroup = row("lsm_cgroup", K::LSM, S::Cgroup).loaded_for(L::LsmHook).expects(A::LSM_CGROUP)
        .sections(&["lsm_cgroup"]).hook("cgroup:/PATH").manifest("LsmCgroup", "cgroup").since(6, 0)
        .attach("BPF_LSM_CGROUP");
    /// Selection of the socket of a network namespace that receives a connection or packet.
    SkLookup = row("sk_lookup", K::SK_LOOKUP, S::Netns).expects(A::SK_LOOKUP).sections(&["sk_lookup"])
        .hook("netns or netns:/PATH").manifest("SkLookup", "netns").since(5, 9).link("BPF_LINK_TYPE_NETNS");
    /// Dissection of packets of a network namespace into flows.
    FlowDissector = row("flow_dissector", K::FLOW_DISSECTOR, S::Netns).expects(A::FLOW_DISSECTOR)
        .sections(&["flow_dissector"]).hook("netns or netns:/PATH").manifest("FlowDissector", "netns")
        .since(5, 8).link("BPF_LINK_TYPE_NETNS");
    /// Packets at a netfilter hook of a network namespace.
    Netfilter = row("netfilter", K::NETFILTER, S::Netns).expects(A::NETFILTER).sections(&["netfilter"])
        .hook("netfilter:FAMILY:HOOK:PRIORITY").manifest("Netfilter", "netfilter").since(6, 4)
        .link("BPF_LINK_TYPE_NETFILTER").needs(&["netfilter"]);
    /// Entries of many kernel functions, by one link.
    KprobeMulti = row("kprobe_multi", K::KPROBE, S::Tasks).expects(A::TRACE_KPROBE_MULTI)
        .sections(&["kprobe.multi"]).hook("kprobe_multi:FUNCTION,...")
        .manifest("KProbeMulti", "kprobeMulti").since(5, 18).attach("BPF_TRACE_KPROBE_MULTI")
        .needs(&["kprobe_multi"]);
    /// Returns from many kernel functions, by one link.
    KretprobeMulti = row("kretprobe_multi", K::KPROBE, S::Tasks).expects(A::TRACE_KPROBE_MULTI).on_return()
        .sections(&["kretprobe.multi"]).hook("kprobe_multi:FUNCTION,...")
        .manifest("KRetProbeMulti", "kprobeMulti").since(5, 18).attach("BPF_TRACE_KPROBE_MULTI")
        .needs(&["kprobe_multi"]);
    /// Entries of many kernel functions, and the returns that the program requests at the entry.
    KprobeSession = row("kprobe_session", K::KPROBE, S::Tasks).expects(A::TRACE_KPROBE_SESSION)
        .sections(&["kprobe.session"]).hook("kprobe_multi:FUNCTION,...")
        .manifest("KProbeSession", "kprobeMulti").since(6, 10).attach("BPF_TRACE_KPROBE_SESSION")
        .needs(&["kprobe_session"]);
    /// Entries of many user-space functions, by one link.
    UprobeMulti = row("uprobe_multi", K::KPROBE, S::Tasks).expects(A::TRACE_UPROBE_MULTI)
        .sections(&["uprobe.multi"]).sleepable().hook("uprobe_multi:FILE:FUNCTION,...")
        .manifest("UProbeMulti", "uprobeMulti").since(6, 6).attach("BPF_TRACE_UPROBE_MULTI")
        .needs(&["uprobe_multi"]);
    /// Returns from many user-space functions, by one link.
    UretprobeMulti = row("uretprobe_multi", K::KPROBE, S::Tasks).expects(A::TRACE_UPROBE_MULTI).on_return()
        .sections(&["uretprobe.multi"]).sleepable().hook("uprobe_multi:FILE:FUNCTION,...")
        .manifest("URetProbeMulti", "uprobeMulti").since(6, 6).attach("BPF_TRACE_UPROBE_MULTI")
        .needs(&["uprobe_multi"]);
    /// Entries of many user-space functions, and the returns that the program requests at the entry.
    UprobeSession = row("uprobe_session", K::KPROBE, S::Tasks).expects(A::TRACE_UPROBE_SESSION)
        .sections(&["uprobe.session"]).sleepable().hook("uprobe_multi:FILE:FUNCTION,...")
        .manifest("UProbeSession", "uprobeMulti").since(6, 13).attach("BPF_TRACE_UPROBE_SESSION")
        .needs(&["uprobe_session"]);
    /// Perf event: a counter of the kernel or the CPU has reached a number.
    PerfEvent = row("perf_event", K::PERF_EVENT, S::Cpus).sections(&["perf_event"])
        .hook("perf_event:EVENT:HZ").manifest("PerfEvent", "perfEvent").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["perf_links"]);
    /// Data that arrives for the sockets of a sockmap.
    SkSkb = row("sk_skb", K::SK_SKB, S::Sockets).loaded_for(L::SocketHook).sections(&["sk_skb"])
        .hook("sockmap:MAP").manifest("SkSkb", "sockmap").since(6, 10).link("BPF_LINK_TYPE_SOCKMAP")
        .needs(&["sockmap_links"]);
    /// Data that the sockets of a sockmap send.
    SkMsg = row("sk_msg", K::SK_MSG, S::Sockets).sections(&["sk_msg"]).hook("sockmap:MAP")
        .manifest("SkMsg", "sockmap").since(6, 10).link("BPF_LINK_TYPE_SOCKMAP").needs(&["sockmap_links"]);
    /// struct_ops: function of a structure that the kernel calls by name, such as a TCP congestion control algorithm.
    StructOps = row("struct_ops", K::STRUCT_OPS, S::Kernel).loaded_for(L::StructMember)
        .sections(&["struct_ops"]).sleepable().hook("struct_ops:MAP").manifest("StructOps", "structOps")
        .since(6, 4).link("BPF_LINK_TYPE_STRUCT_OPS").needs(&["struct_ops_links"]);
    /// USDT probe, which the ELF notes of a user-space binary describe.
    Usdt = row("usdt", K::KPROBE, S::Tasks).expects(A::TRACE_UPROBE_MULTI).sections(&["usdt"]).sleepable()
        .hook("usdt:FILE:PROVIDER:NAME").manifest("Usdt", "usdt").since(6, 6)
        .attach("BPF_TRACE_UPROBE_MULTI").needs(&["uprobe_multi"]);
    /// Entry of a system call, by its name.
    Ksyscall = row("ksyscall", K::KPROBE, S::Tasks).sections(&["ksyscall"]).hook("ksyscall:NAME")
        .manifest("KSyscall", "ksyscall").since(5, 15).link("BPF_LINK_TYPE_PERF_EVENT")
        .needs(&["kprobes", "perf_links"]);
    /// Return from a system call, by its name.
    Kretsyscall = row("kretsyscall", K::KPROBE, S::Tasks).on_return().sections(&["kretsyscall"])
        .hook("ksyscall:NAME").manifest("KRetSyscall", "ksyscall").since(5, 15)
        .link("BPF_LINK_TYPE_PERF_EVENT").needs(&["kprobes", "perf_links"]);
    /// Packets between the two ends of a netkit device.
    Netkit = row("netkit", K::SCHED_CLS, S::Netns).loaded_for(L::SocketHook).sections(&["netkit"])
        .hook("netkit:IFACE").manifest("Netkit", "netkit").since(6, 7).link("BPF_LINK_TYPE_NETKIT")
        .needs(&["netkit"]);
    /// Packets of one socket. A process opens the program and attaches it to the socket.
    SocketFilter = row("socket_filter", K::SOCKET_FILTER, S::Opener).sections(&["socket"])
        .manifest_without_block("SocketFilter").since(3, 19);
    /// Selection of the socket that receives a packet, among several at one port. A process attaches it to them.
    SkReuseport = row("sk_reuseport", K::SK_REUSEPORT, S::Opener).sections(&["sk_reuseport"])
        .manifest_without_block("SkReuseport").since(4, 19);
    /// Selection as by `SkReuseport`, and of the socket that gets the connections of a closed socket.
    SkReuseportMigrate = row("sk_reuseport_migrate", K::SK_REUSEPORT, S::Opener)
        .expects(A::SK_REUSEPORT_SELECT_OR_MIGRATE).manifest_without_block("SkReuseportMigrate")
        .since(5, 14).attach("BPF_SK_REUSEPORT_SELECT_OR_MIGRATE");
    /// Packets that a devmap redirected. A process puts the program into an entry of the map.
    XdpDevmap = row("xdp_devmap", K::XDP, S::Opener).expects(A::XDP_DEVMAP)
        .manifest_without_block("XdpDevmap").since(5, 8).attach("BPF_XDP_DEVMAP");
    /// Packets that a cpumap redirected. A process puts the program into an entry of the map.
    XdpCpumap = row("xdp_cpumap", K::XDP, S::Opener).expects(A::XDP_CPUMAP)
        .manifest_without_block("XdpCpumap").since(5, 9).attach("BPF_XDP_CPUMAP");
    /// Packets that a route receives. A process creates the route with the program.
    LwtIn = row("lwt_in", K::LWT_IN, S::Opener).sections(&["lwt_in"]).manifest_without_block("LwtIn")
        .since(4, 10);
    /// Packets that a route lets out. A process creates the route with the program.
    LwtOut = row("lwt_out", K::LWT_OUT, S::Opener).sections(&["lwt_out"]).manifest_without_block("LwtOut")
        .since(4, 10);
    /// Packets that a route transmits. A process creates the route with the program.
    LwtXmit = row("lwt_xmit", K::LWT_XMIT, S::Opener).sections(&["lwt_xmit"])
        .manifest_without_block("LwtXmit").since(4, 10);
    /// Packets at a segment of IPv6 segment routing. A process creates the route with the program.
    LwtSeg6local = row("lwt_seg6local", K::LWT_SEG6LOCAL, S::Opener).sections(&["lwt_seg6local"])
        .manifest_without_block("LwtSeg6local").since(4, 18);
    /// Packets at a traffic control action. A process creates the action with the program.
    SchedAct = row("sched_act", K::SCHED_ACT, S::Opener).sections(&["action"])
        .manifest_without_block("SchedAct").since(4, 1);
    /// Program without an event: the process that opens it runs it.
    Syscall = row("syscall", K::SYSCALL, S::Opener).sections(&["syscall"]).manifest_without_block("Syscall")
        .since(5, 14);
    /// Signals of a remote control's receiver. A process attaches the program to it.
    LircMode2 = row("lirc_mode2", K::LIRC_MODE2, S::Opener).sections(&["lirc_mode2"])
        .manifest_without_block("LircMode2").since(4, 18);
    /// Function that replaces one of another program.
    Freplace = row("freplace", K::EXT, S::Program).loaded_for(L::ProgramFunction).sections(&["freplace"])
        .hook("freplace:PROGRAM_ID:FUNCTION").since(5, 10).link("BPF_LINK_TYPE_TRACING")
        .needs(&["freplace"]);
}

//! Types of programs: what the kernel calls them, and since when the daemon can attach them.

use bpfmand_core::ProgramType;

use crate::since::{FirstLinux, LinuxVersion};

/// The kernel's name of the type that programs are loaded as, as the table of versions has it.
pub const fn kernel_name(program_type: ProgramType) -> &'static str {
    use ProgramType as T;
    match program_type {
        T::Xdp => "xdp",
        T::Tc | T::Tcx => "sched_cls",
        T::Tracepoint => "tracepoint",
        T::Kprobe
        | T::Kretprobe
        | T::Uprobe
        | T::Uretprobe
        | T::KprobeMulti
        | T::KretprobeMulti
        | T::KprobeSession
        | T::UprobeMulti
        | T::UretprobeMulti => "kprobe",
        T::Fentry | T::Fexit | T::FmodRet | T::BtfTracepoint | T::Iter => "tracing",
        T::Lsm | T::LsmCgroup => "lsm",
        T::RawTracepoint => "raw_tracepoint",
        T::CgroupSkb => "cgroup_skb",
        T::CgroupSock => "cgroup_sock",
        T::CgroupSockAddr => "cgroup_sock_addr",
        T::CgroupSockopt => "cgroup_sockopt",
        T::CgroupSysctl => "cgroup_sysctl",
        T::CgroupDevice => "cgroup_device",
        T::SockOps => "sock_ops",
        T::SkLookup => "sk_lookup",
        T::FlowDissector => "flow_dissector",
        T::Netfilter => "netfilter",
        T::PerfEvent => "perf_event",
        T::SkSkb => "sk_skb",
        T::SkMsg => "sk_msg",
        T::SocketFilter => "socket_filter",
        T::SkReuseport => "sk_reuseport",
    }
}

/// Since when Linux has what the daemon attaches programs of a type by: the links of docs/types.md.
#[must_use]
pub const fn attached_since(program_type: ProgramType) -> FirstLinux {
    use ProgramType as T;
    let (major, minor) = match program_type {
        T::Tc => (4, 5),
        T::RawTracepoint | T::BtfTracepoint | T::Fentry | T::Fexit | T::FmodRet | T::Lsm => (5, 7),
        T::CgroupSkb
        | T::CgroupSock
        | T::CgroupSockAddr
        | T::CgroupSockopt
        | T::CgroupSysctl
        | T::CgroupDevice
        | T::SockOps => (5, 7),
        T::Iter | T::FlowDissector => (5, 8),
        T::Xdp | T::SkLookup => (5, 9),
        T::Tracepoint | T::Kprobe | T::Kretprobe | T::Uprobe | T::Uretprobe | T::PerfEvent => (5, 15),
        T::KprobeMulti | T::KretprobeMulti => (5, 18),
        T::LsmCgroup => (6, 0),
        T::Netfilter => (6, 4),
        T::Tcx | T::UprobeMulti | T::UretprobeMulti => (6, 6),
        T::KprobeSession | T::SkSkb | T::SkMsg => (6, 10),
        // Nobody but their user attaches these.
        T::SocketFilter => (3, 19),
        T::SkReuseport => (4, 19),
    };
    FirstLinux { version: LinuxVersion(major, minor), commit: "" }
}

/// The enumeration of the kernel, and the value in it, by which a kernel knows how programs of a type are attached. None for
/// what every kernel has, and for what nobody attaches by a link.
pub const fn attached_by(program_type: ProgramType) -> Option<(&'static str, &'static str)> {
    use ProgramType as T;
    const ATTACH: &str = "bpf_attach_type";
    const LINK: &str = "bpf_link_type";
    Some(match program_type {
        T::Xdp => (LINK, "BPF_LINK_TYPE_XDP"),
        T::Tcx => (ATTACH, "BPF_TCX_INGRESS"),
        T::Tracepoint | T::Kprobe | T::Kretprobe | T::Uprobe | T::Uretprobe | T::PerfEvent => {
            (LINK, "BPF_LINK_TYPE_PERF_EVENT")
        }
        T::KprobeMulti | T::KretprobeMulti => (ATTACH, "BPF_TRACE_KPROBE_MULTI"),
        T::KprobeSession => (ATTACH, "BPF_TRACE_KPROBE_SESSION"),
        T::UprobeMulti | T::UretprobeMulti => (ATTACH, "BPF_TRACE_UPROBE_MULTI"),
        T::RawTracepoint => (LINK, "BPF_LINK_TYPE_RAW_TRACEPOINT"),
        T::BtfTracepoint | T::Fentry | T::Fexit | T::FmodRet | T::Lsm => (LINK, "BPF_LINK_TYPE_TRACING"),
        T::Iter => (LINK, "BPF_LINK_TYPE_ITER"),
        T::LsmCgroup => (ATTACH, "BPF_LSM_CGROUP"),
        T::CgroupSkb
        | T::CgroupSock
        | T::CgroupSockAddr
        | T::CgroupSockopt
        | T::CgroupSysctl
        | T::CgroupDevice
        | T::SockOps => (LINK, "BPF_LINK_TYPE_CGROUP"),
        T::SkLookup | T::FlowDissector => (LINK, "BPF_LINK_TYPE_NETNS"),
        T::Netfilter => (LINK, "BPF_LINK_TYPE_NETFILTER"),
        T::SkSkb | T::SkMsg => (LINK, "BPF_LINK_TYPE_SOCKMAP"),
        T::Tc | T::SocketFilter | T::SkReuseport => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::since::since;

    /// The first number of the column "Linux" of each type's row.
    #[test]
    fn versions_are_those_that_the_documentation_states() {
        let page = include_str!("../../../docs/types.md");
        for program_type in ProgramType::ALL {
            let named = format!("`{program_type}`");
            let mut rows = page.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
            let row = rows
                .find(|cells| cells.get(1).is_some_and(|names| names.split(", ").any(|name| name == named)));
            let stated = row.unwrap_or_else(|| panic!("docs/types.md has no row for {program_type}"))[5];
            let version = LinuxVersion::of_release(stated);
            assert_eq!(version, Some(attached_since(program_type).version), "{program_type}: {stated}");
            assert!(since("program_type", kernel_name(program_type)).is_some(), "{program_type}");
        }
    }
}

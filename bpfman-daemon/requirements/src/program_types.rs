use bpfmand_core::ProgramType;
use bpfmand_core::uapi::prog_type;

use crate::since::{FirstLinux, LinuxVersion};

pub fn kernel_name(program_type: ProgramType) -> String {
    prog_type::name(program_type.kernel_type())
}

/// Enumeration and value in the kernel's BTF.
pub type KnownBy = (&'static str, &'static str);

/// Returns the first Linux version with the links that the daemon uses for programs of a type (docs/types.md).
#[must_use]
pub const fn attached_since(program_type: ProgramType) -> FirstLinux {
    let ((major, minor), _) = attachment(program_type);
    FirstLinux { version: LinuxVersion(major, minor), commit: "" }
}

/// `None` if every kernel can, or programs are not attached by a link.
pub const fn attached_by(program_type: ProgramType) -> Option<KnownBy> {
    attachment(program_type).1
}

const fn attachment(program_type: ProgramType) -> ((u16, u16), Option<KnownBy>) {
    use ProgramType as T;
    const fn link(name: &'static str) -> Option<KnownBy> {
        Some(("bpf_link_type", name))
    }
    const fn attach(name: &'static str) -> Option<KnownBy> {
        Some(("bpf_attach_type", name))
    }
    match program_type {
        T::SocketFilter => ((3, 19), None),
        T::SkReuseport => ((4, 19), None),
        T::SkReuseportMigrate => ((5, 14), attach("BPF_SK_REUSEPORT_SELECT_OR_MIGRATE")),
        T::XdpDevmap => ((5, 8), attach("BPF_XDP_DEVMAP")),
        T::XdpCpumap => ((5, 9), attach("BPF_XDP_CPUMAP")),
        T::LwtIn | T::LwtOut | T::LwtXmit => ((4, 10), None),
        T::LwtSeg6local => ((4, 18), None),
        T::SchedAct => ((4, 1), None),
        T::Syscall => ((5, 14), None),
        T::LircMode2 => ((4, 18), None),
        T::Tc => ((4, 5), None),
        T::RawTracepoint | T::RawTracepointWritable => ((5, 7), link("BPF_LINK_TYPE_RAW_TRACEPOINT")),
        T::BtfTracepoint | T::Fentry | T::Fexit | T::FmodRet | T::Lsm => {
            ((5, 7), link("BPF_LINK_TYPE_TRACING"))
        }
        T::CgroupSkb
        | T::CgroupSock
        | T::CgroupSockAddr
        | T::CgroupSockopt
        | T::CgroupSysctl
        | T::CgroupDevice
        | T::SockOps => ((5, 7), link("BPF_LINK_TYPE_CGROUP")),
        T::Iter => ((5, 8), link("BPF_LINK_TYPE_ITER")),
        T::FlowDissector => ((5, 8), link("BPF_LINK_TYPE_NETNS")),
        T::Freplace => ((5, 10), link("BPF_LINK_TYPE_TRACING")),
        T::SkLookup => ((5, 9), link("BPF_LINK_TYPE_NETNS")),
        T::Xdp => ((5, 9), link("BPF_LINK_TYPE_XDP")),
        T::Tracepoint
        | T::Kprobe
        | T::Kretprobe
        | T::Ksyscall
        | T::Kretsyscall
        | T::Uprobe
        | T::Uretprobe
        | T::PerfEvent => ((5, 15), link("BPF_LINK_TYPE_PERF_EVENT")),
        T::KprobeMulti | T::KretprobeMulti => ((5, 18), attach("BPF_TRACE_KPROBE_MULTI")),
        T::LsmCgroup => ((6, 0), attach("BPF_LSM_CGROUP")),
        T::StructOps => ((6, 4), link("BPF_LINK_TYPE_STRUCT_OPS")),
        T::Netfilter => ((6, 4), link("BPF_LINK_TYPE_NETFILTER")),
        T::Netkit => ((6, 7), link("BPF_LINK_TYPE_NETKIT")),
        T::Tcx => ((6, 6), attach("BPF_TCX_INGRESS")),
        T::UprobeMulti | T::UretprobeMulti | T::Usdt => ((6, 6), attach("BPF_TRACE_UPROBE_MULTI")),
        T::KprobeSession => ((6, 10), attach("BPF_TRACE_KPROBE_SESSION")),
        T::UprobeSession => ((6, 13), attach("BPF_TRACE_UPROBE_SESSION")),
        T::SkSkb | T::SkMsg => ((6, 10), link("BPF_LINK_TYPE_SOCKMAP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::since::since;

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
            assert!(since("program_type", &kernel_name(program_type)).is_some(), "{program_type}");
        }
    }
}

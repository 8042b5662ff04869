//! Program types of the kernel (`enum bpf_prog_type`), and their names on the command line.

use bpfman_proto::KERNEL_PROGRAM_TYPES as NAMES;

use crate::args::suggestion::did_you_mean;

/// Program type of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExactType {
    /// Name of the type.
    pub name: &'static str,
    /// Kernel type of the load.
    pub kernel: u32,
    /// Number on the wire; a return probe has that of its entry probe.
    pub wire: i32,
}

/// All types.
pub const EXACT: [ExactType; 54] = {
    use bpfman_proto::ext::v1::ProgramTypeNumber as More;
    use bpfman_proto::v1::BpfmanProgramType as Published;
    const fn exact(name: &'static str, kernel: u32, wire: Published) -> ExactType {
        ExactType { name, kernel, wire: wire as i32 }
    }
    const fn more(name: &'static str, kernel: u32, wire: More) -> ExactType {
        ExactType { name, kernel, wire: wire as i32 }
    }
    [
        exact("xdp", 6, Published::Xdp),
        exact("tc", 3, Published::Tc),
        exact("tcx", 3, Published::Tcx),
        exact("tracepoint", 5, Published::Tracepoint),
        exact("kprobe", 2, Published::Kprobe),
        exact("kretprobe", 2, Published::Kprobe),
        exact("uprobe", 2, Published::Uprobe),
        exact("uretprobe", 2, Published::Uprobe),
        exact("fentry", 26, Published::Fentry),
        exact("fexit", 26, Published::Fexit),
        exact("lsm", 29, Published::Lsm),
        more("raw_tracepoint", 17, More::RawTracepoint),
        more("tp_btf", 26, More::TpBtf),
        more("fmod_ret", 26, More::FmodRet),
        more("iter", 26, More::Iter),
        more("cgroup_skb", 8, More::CgroupSkb),
        more("cgroup_sock", 9, More::CgroupSock),
        more("cgroup_sock_addr", 18, More::CgroupSockAddr),
        more("cgroup_sockopt", 25, More::CgroupSockopt),
        more("cgroup_sysctl", 23, More::CgroupSysctl),
        more("cgroup_device", 15, More::CgroupDevice),
        more("sock_ops", 13, More::SockOps),
        more("lsm_cgroup", 29, More::LsmCgroup),
        more("sk_lookup", 30, More::SkLookup),
        more("flow_dissector", 22, More::FlowDissector),
        more("netfilter", 32, More::Netfilter),
        more("kprobe_multi", 2, More::KprobeMulti),
        more("kretprobe_multi", 2, More::KretprobeMulti),
        more("kprobe_session", 2, More::KprobeSession),
        more("uprobe_multi", 2, More::UprobeMulti),
        more("uretprobe_multi", 2, More::UretprobeMulti),
        more("perf_event", 7, More::PerfEvent),
        more("sk_skb", 14, More::SkSkb),
        more("sk_msg", 16, More::SkMsg),
        more("socket_filter", 1, More::SocketFilter),
        more("sk_reuseport", 21, More::SkReuseport),
        more("struct_ops", 27, More::StructOps),
        more("uprobe_session", 2, More::UprobeSession),
        more("netkit", 3, More::Netkit),
        more("usdt", 2, More::Usdt),
        more("ksyscall", 2, More::Ksyscall),
        more("kretsyscall", 2, More::Kretsyscall),
        more("raw_tracepoint_writable", 24, More::RawTracepointWritable),
        more("sk_reuseport_migrate", 21, More::SkReuseportMigrate),
        more("xdp_devmap", 6, More::XdpDevmap),
        more("xdp_cpumap", 6, More::XdpCpumap),
        more("lwt_in", 10, More::LwtIn),
        more("lwt_out", 11, More::LwtOut),
        more("lwt_xmit", 12, More::LwtXmit),
        more("lwt_seg6local", 19, More::LwtSeg6local),
        more("sched_act", 4, More::SchedAct),
        more("syscall", 31, More::Syscall),
        more("lirc_mode2", 20, More::LircMode2),
        more("freplace", 28, More::Freplace),
    ]
};

/// Returns the kernel type's name in tables: snake case, or the bare number if unknown.
#[must_use]
pub fn name(number: u32) -> String {
    let known = usize::try_from(number).ok().and_then(|index| NAMES.get(index));
    known.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// Returns the type's name in v0.6.0's tables, which show return probes as their entry probes.
#[must_use]
pub fn table_name(exact: &str) -> &str {
    match exact {
        "kretprobe" => "kprobe",
        "uretprobe" => "uprobe",
        other => other,
    }
}

/// Returns a type by its name, as in `--programs`. Dashes and underscores are equivalent.
pub fn exact(name: &str) -> Result<ExactType, UnknownType> {
    let plain = name.replace('-', "_");
    EXACT.into_iter().find(|known| known.name == plain).ok_or_else(|| UnknownType {
        name: name.to_owned(),
        expected: EXACT.iter().map(|known| known.name.to_owned()).collect(),
    })
}

/// Returns the canonical name of a type, as in `--kind`.
pub fn exact_name(name: &str) -> Result<&'static str, UnknownType> {
    exact(name).map(|known| known.name)
}

/// Selection of `--program-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeFilter {
    /// All programs of one kernel type, for example `tc` and `tcx` together.
    Kernel(u32),
    /// One type of this project.
    Exact(&'static str),
}

/// Error of a name that is no program type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown program type \"{name}\"{}; `bpfman features types` lists them",
    did_you_mean(name, .expected.iter().map(String::as_str))
)]
pub struct UnknownType {
    /// Rejected name.
    pub name: String,
    /// All valid names.
    pub expected: Vec<String>,
}

impl TypeFilter {
    /// Parses a kernel type in kebab case, as in v0.6.0, or a name of this project that no kernel type has.
    pub fn parse(name: &str) -> Result<Self, UnknownType> {
        let kernel = NAMES.iter().position(|known| known.replace('_', "-") == name);
        if let Some(number) = kernel.and_then(|index| u32::try_from(index).ok()) {
            return Ok(Self::Kernel(number));
        }
        exact_name(name).map(Self::Exact).map_err(|error| UnknownType { expected: Self::names(), ..error })
    }

    /// Returns all names that [`Self::parse`] accepts.
    #[must_use]
    pub fn names() -> Vec<String> {
        let kernel = NAMES.iter().map(|name| name.replace('_', "-"));
        let exact = EXACT.iter().map(|known| known.name).filter(|name| !NAMES.contains(name));
        kernel.chain(exact.map(str::to_owned)).collect()
    }

    /// Returns whether a program with the exact type `exact` is selected.
    #[must_use]
    pub fn selects(&self, exact: &str) -> bool {
        match self {
            Self::Kernel(number) => EXACT.iter().any(|known| known.name == exact && known.kernel == *number),
            Self::Exact(name) => *name == exact,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_are_kebab_case_in_input_snake_case_in_tables() {
        assert_eq!(TypeFilter::parse("socket-filter"), Ok(TypeFilter::Kernel(1)));
        assert_eq!(TypeFilter::parse("raw-tracepoint-writable"), Ok(TypeFilter::Kernel(24)));
        assert_eq!(TypeFilter::parse("netfilter"), Ok(TypeFilter::Kernel(32)));
        assert_eq!(name(1), "socket_filter");
        assert_eq!(name(29), "lsm");
        assert_eq!(name(77), "77");
    }

    #[test]
    fn a_name_that_is_both_means_the_kernel_type() {
        assert_eq!(TypeFilter::parse("tc"), Ok(TypeFilter::Kernel(3)));
        assert!(TypeFilter::Kernel(3).selects("tcx"));
        assert!(!TypeFilter::Kernel(3).selects("xdp"));
    }

    #[test]
    fn names_only_we_have_are_exact() {
        assert_eq!(TypeFilter::parse("kretprobe"), Ok(TypeFilter::Exact("kretprobe")));
        assert!(TypeFilter::Exact("kretprobe").selects("kretprobe"));
        assert!(!TypeFilter::Exact("kretprobe").selects("kprobe"));
    }

    #[test]
    fn unknown_names_are_refused_with_the_list() {
        let error = TypeFilter::parse("xpd").unwrap_err();
        let text = "unknown program type \"xpd\" (did you mean xdp?); `bpfman features types` lists them";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.expected.len(), 33 + 26);
    }

    #[test]
    fn every_exact_type_is_shown_with_a_name_of_v0_6() {
        let shown: Vec<&str> = EXACT[..11].iter().map(|known| table_name(known.name)).collect();
        assert_eq!(
            shown,
            [
                "xdp",
                "tc",
                "tcx",
                "tracepoint",
                "kprobe",
                "kprobe",
                "uprobe",
                "uprobe",
                "fentry",
                "fexit",
                "lsm"
            ]
        );
    }
}

use std::fmt;

use bpfman_model::{LoadTarget, ProgramType, SectionOption, SocketHook, TypeScope};

pub(crate) const SUPPORTED_SECTIONS: &str = "xdp, xdp.frags, tc, classifier, tcx/ingress, tcx/egress, \
     tracepoint/CATEGORY/NAME, tp/CATEGORY/NAME, raw_tp, raw_tracepoint, tp_btf, kprobe, kretprobe, uprobe, uretprobe, \
     fentry, fexit, fmod_ret, lsm, lsm_cgroup, iter, cgroup_skb, cgroup/HOOK, sockops, sk_lookup, flow_dissector, netfilter, kprobe.multi, kretprobe.multi, \
     kprobe.session, uprobe.multi, uretprobe.multi, perf_event, sk_skb/HOOK, sk_msg, socket, sk_reuseport, \
     struct_ops, uprobe.session, netkit/primary, netkit/peer, usdt, ksyscall, kretsyscall, raw_tp.w, xdp/devmap, xdp/cpumap, sk_reuseport/migrate, lwt_in, \
     lwt_out, lwt_xmit, lwt_seg6local, action, syscall, lirc_mode2, freplace/FUNCTION";

/// Types of programs in unknown sections, by declaration: those without an attach target in the section name.
pub(crate) const TYPES_OF_ANY_SECTION: [ProgramType; 14] = {
    use ProgramType as T;
    [
        T::Xdp,
        T::Tc,
        T::Tcx,
        T::Tracepoint,
        T::RawTracepoint,
        T::Kprobe,
        T::Kretprobe,
        T::Uprobe,
        T::Uretprobe,
        T::PerfEvent,
        T::SocketFilter,
        T::SockOps,
        T::SkMsg,
        T::SchedAct,
    ]
};

/// Kind of program that a section name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SectionFamily {
    Type(ProgramType),
    /// Any other section, by name.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedSection {
    pub family: SectionFamily,
    pub attach_target: Option<String>,
    pub sleepable: bool,
    pub frags: bool,
}

impl SectionFamily {
    /// Returns whether a program of this section may be loaded as the declared type.
    ///
    /// Clients have always declared return probes as probes: a probe declaration admits return probe sections, and the
    /// section decides. A return probe declaration makes a plain probe section a return probe. `tc` and `tcx` are one
    /// type. Unknown sections admit types without an attach target.
    #[must_use]
    pub fn admits(&self, declared: ProgramType) -> bool {
        use ProgramType as T;
        let Self::Type(own) = self else { return TYPES_OF_ANY_SECTION.contains(&declared) };
        match own {
            T::Tc | T::Tcx => matches!(declared, T::Tc | T::Tcx),
            own => own.declared() == declared.declared(),
        }
    }

    /// Returns the type of the section; `None` for an unsupported section.
    #[must_use]
    pub const fn program_type(&self) -> Option<ProgramType> {
        match self {
            Self::Type(program_type) => Some(*program_type),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for SectionFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(program_type) => f.write_str(program_type.name()),
            Self::Other(section) => write!(f, "unsupported ({section})"),
        }
    }
}

/// Parses the name of a section. Unknown names are `Other`.
pub(crate) fn parse_section(section: &str) -> ParsedSection {
    // A leading question mark excludes the program from libbpf's automatic load, which does not exist here.
    let bare = section.strip_prefix('?').unwrap_or(section);
    let (head, rest) = match bare.split_once('/') {
        Some((head, rest)) => (head, Some(rest).filter(|rest| !rest.is_empty())),
        None => (bare, None),
    };
    known_section(head, rest).unwrap_or_else(|| ParsedSection {
        family: SectionFamily::Other(section.to_owned()),
        attach_target: None,
        sleepable: false,
        frags: false,
    })
}

fn known_section(head: &str, rest: Option<&str>) -> Option<ParsedSection> {
    // Some kinds have a dot in their names.
    let (kind, option) = match head.rsplit_once('.') {
        Some((kind, "s")) => (kind, Some(SectionOption::Sleepable)),
        Some((kind, "frags")) => (kind, Some(SectionOption::Frags)),
        _ => (head, None),
    };
    let takes_frags = matches!(option, None | Some(SectionOption::Frags));
    let (program_type, attach_target) = match (kind, rest) {
        ("cgroup", Some(name)) if option.is_none() => cgroup_section(name)?,
        // These two run after a redirect, not at a hook of an interface, and the kernel distinguishes them.
        ("xdp", Some("devmap")) if takes_frags => (ProgramType::XdpDevmap, None),
        ("xdp", Some("cpumap")) if takes_frags => (ProgramType::XdpCpumap, None),
        // This one also runs when a socket closes; the kernel needs that type at load.
        ("sk_reuseport", Some("migrate")) if option.is_none() => (ProgramType::SkReuseportMigrate, None),
        _ => {
            let program_type =
                ProgramType::ALL.into_iter().find(|known| known.sections().0.contains(&kind))?;
            if option.is_some() && option != program_type.sections().1 {
                return None;
            }
            let target = rest.filter(|_| takes_target(program_type));
            let is_socket_hook = program_type.load_target() == Some(LoadTarget::SocketHook);
            if is_socket_hook && target.is_some_and(|name| SocketHook::named(program_type, name).is_none()) {
                return None;
            }
            (program_type, target.map(str::to_owned))
        }
    };
    Some(ParsedSection {
        family: SectionFamily::Type(program_type),
        attach_target,
        // The kernel accepts only sleepable programs of type `syscall`.
        sleepable: option == Some(SectionOption::Sleepable) || program_type == ProgramType::Syscall,
        frags: option == Some(SectionOption::Frags),
    })
}

const fn takes_target(program_type: ProgramType) -> bool {
    // The map decides the member of a program; the section name may be arbitrary.
    if matches!(program_type, ProgramType::StructOps) {
        return false;
    }
    program_type.needs_load_target() || matches!(program_type.scope(), TypeScope::Tasks | TypeScope::Reader)
}

fn cgroup_section(name: &str) -> Option<(ProgramType, Option<String>)> {
    use ProgramType as T;
    match name {
        // Older names: for packets without a direction, and for the creation of sockets.
        "skb" => return Some((T::CgroupSkb, None)),
        "sock" => return Some((T::CgroupSock, Some("sock_create".to_owned()))),
        _ => {}
    }
    let types = [T::CgroupSock, T::CgroupSockAddr, T::CgroupSockopt, T::CgroupSysctl, T::CgroupDevice];
    let program_type = types.into_iter().find(|of| SocketHook::named(*of, name).is_some())?;
    Some((program_type, program_type.needs_load_target().then(|| name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_names_of_libbpf_and_aya_are_understood() {
        use ProgramType as T;
        let table: &[(&str, T, Option<&str>)] = &[
            ("xdp", T::Xdp, None),
            ("xdp/filter", T::Xdp, None),
            ("xdp.frags", T::Xdp, None),
            ("xdp.frags/filter", T::Xdp, None),
            ("?xdp", T::Xdp, None),
            ("tc", T::Tc, None),
            ("tc/ingress", T::Tc, None),
            ("tc/egress", T::Tc, None),
            ("tc/my_filter", T::Tc, None),
            ("classifier", T::Tc, None),
            ("classifier/ingress", T::Tc, None),
            ("tcx/ingress", T::Tcx, None),
            ("tcx/egress", T::Tcx, None),
            ("tcx", T::Tcx, None),
            ("tp/syscalls/sys_enter_openat", T::Tracepoint, Some("syscalls/sys_enter_openat")),
            ("tracepoint/sched/sched_switch", T::Tracepoint, Some("sched/sched_switch")),
            ("tracepoint", T::Tracepoint, None),
            ("kprobe/vfs_unlink", T::Kprobe, Some("vfs_unlink")),
            ("kretprobe/vfs_unlink", T::Kretprobe, Some("vfs_unlink")),
            ("uprobe//usr/lib/libc.so:malloc", T::Uprobe, Some("/usr/lib/libc.so:malloc")),
            ("uprobe.s/libc:malloc", T::Uprobe, Some("libc:malloc")),
            ("uretprobe/libc:malloc", T::Uretprobe, Some("libc:malloc")),
            ("fentry/vfs_unlink", T::Fentry, Some("vfs_unlink")),
            ("fexit.s/vfs_unlink", T::Fexit, Some("vfs_unlink")),
            ("lsm/file_open", T::Lsm, Some("file_open")),
            ("lsm.s/file_open", T::Lsm, Some("file_open")),
            ("raw_tp/sched_switch", T::RawTracepoint, Some("sched_switch")),
            ("raw_tracepoint", T::RawTracepoint, None),
            ("tp_btf/sched_switch", T::BtfTracepoint, Some("sched_switch")),
            ("fmod_ret.s/bpf_modify_return_test", T::FmodRet, Some("bpf_modify_return_test")),
            ("lsm_cgroup/socket_bind", T::LsmCgroup, Some("socket_bind")),
            ("iter.s/bpf_map", T::Iter, Some("bpf_map")),
            ("cgroup_skb/ingress", T::CgroupSkb, Some("ingress")),
            ("cgroup/skb", T::CgroupSkb, None),
            ("cgroup/sock", T::CgroupSock, Some("sock_create")),
            ("cgroup/sock_release", T::CgroupSock, Some("sock_release")),
            ("cgroup/post_bind6", T::CgroupSock, Some("post_bind6")),
            ("cgroup/connect4", T::CgroupSockAddr, Some("connect4")),
            ("cgroup/sendmsg_unix", T::CgroupSockAddr, Some("sendmsg_unix")),
            ("cgroup/setsockopt", T::CgroupSockopt, Some("setsockopt")),
            ("cgroup/sysctl", T::CgroupSysctl, None),
            ("cgroup/dev", T::CgroupDevice, None),
            ("sockops", T::SockOps, None),
            ("sk_lookup", T::SkLookup, None),
            ("sk_lookup/redirect", T::SkLookup, None),
            ("flow_dissector", T::FlowDissector, None),
            ("netfilter", T::Netfilter, None),
            ("kprobe.multi/do_*", T::KprobeMulti, Some("do_*")),
            ("kretprobe.multi", T::KretprobeMulti, None),
            ("kprobe.session/tcp_*", T::KprobeSession, Some("tcp_*")),
            ("uprobe.multi/libc:mem*", T::UprobeMulti, Some("libc:mem*")),
            ("uretprobe.multi.s/libc:malloc", T::UretprobeMulti, Some("libc:malloc")),
            ("perf_event", T::PerfEvent, None),
            ("perf_event/clock", T::PerfEvent, None),
            ("sk_skb/stream_parser", T::SkSkb, Some("stream_parser")),
            ("sk_skb/verdict", T::SkSkb, Some("verdict")),
            ("sk_skb", T::SkSkb, None),
            ("sk_msg", T::SkMsg, None),
            ("socket", T::SocketFilter, None),
            ("socket/http", T::SocketFilter, None),
            ("sk_reuseport", T::SkReuseport, None),
            ("struct_ops", T::StructOps, None),
            ("struct_ops/init", T::StructOps, None),
            ("struct_ops.s/init", T::StructOps, None),
            ("uprobe.session/libc:mem*", T::UprobeSession, Some("libc:mem*")),
            ("uprobe.session.s/libc:malloc", T::UprobeSession, Some("libc:malloc")),
            ("usdt/libc.so.6:libc:setjmp", T::Usdt, Some("libc.so.6:libc:setjmp")),
            ("usdt.s//bin/shop:shop:sold", T::Usdt, Some("/bin/shop:shop:sold")),
            ("usdt", T::Usdt, None),
            ("netkit/primary", T::Netkit, Some("primary")),
            ("netkit/peer", T::Netkit, Some("peer")),
            ("ksyscall/openat", T::Ksyscall, Some("openat")),
            ("kretsyscall/openat", T::Kretsyscall, Some("openat")),
            ("raw_tp.w/bpf_test_finish", T::RawTracepointWritable, Some("bpf_test_finish")),
            ("raw_tracepoint.w", T::RawTracepointWritable, None),
            ("xdp/devmap", T::XdpDevmap, None),
            ("xdp.frags/devmap", T::XdpDevmap, None),
            ("xdp.frags/cpumap", T::XdpCpumap, None),
            ("sk_reuseport/migrate", T::SkReuseportMigrate, None),
            ("lwt_in", T::LwtIn, None),
            ("lwt_out/encap", T::LwtOut, None),
            ("lwt_xmit", T::LwtXmit, None),
            ("lwt_seg6local", T::LwtSeg6local, None),
            ("action", T::SchedAct, None),
            ("action/mirror", T::SchedAct, None),
            ("syscall", T::Syscall, None),
            ("lirc_mode2", T::LircMode2, None),
            ("freplace/limit", T::Freplace, Some("limit")),
            ("freplace", T::Freplace, None),
        ];
        for (section, family, target) in table {
            let parsed = parse_section(section);
            assert_eq!(parsed.family, SectionFamily::Type(*family), "{section}");
            assert_eq!(parsed.attach_target.as_deref(), *target, "{section}");
            let head = section.split('/').next().unwrap_or_default();
            assert_eq!(parsed.sleepable, head.ends_with(".s") || head == "syscall", "{section}");
            assert_eq!(parsed.frags, head.ends_with(".frags"), "{section}");
        }
    }

    #[test]
    fn other_program_types_are_not_mistaken_for_ours() {
        for section in [
            "kprobe.other/x",
            "kprobe.multi.s/x",
            "ksyscall.s/openat",
            "raw_tp.x/x",
            "tp_btf.s/x",
            "cgroup_skb/connect4",
            "cgroup_skb.s/ingress",
            "cgroup/ingress",
            "cgroup/sockops",
            "cgroup/connect4/x",
            "cgroup.s/connect4",
            "cgroup",
            "netfilter.s",
            "sk_skb/x",
            "netkit/x",
            "sk_msg.s",
            "sk_reuseport.s/migrate",
            "socket.s",
            "xdp.s/devmap",
            "freplace.s/x",
            "",
            "xdpfoo",
            "/",
        ] {
            assert_eq!(parse_section(section).family, SectionFamily::Other(section.to_owned()), "{section}");
        }
    }

    #[test]
    fn declared_types_are_admitted_where_the_kernel_type_agrees() {
        use ProgramType as T;
        let admitted = |section: &str| -> Vec<T> {
            let family = parse_section(section).family;
            T::ALL.into_iter().filter(|declared| family.admits(*declared)).collect()
        };
        assert_eq!(admitted("tc"), [T::Tc, T::Tcx]);
        assert_eq!(admitted("tcx/ingress"), [T::Tc, T::Tcx]);
        assert_eq!(admitted("kprobe/x"), [T::Kprobe, T::Kretprobe]);
        assert_eq!(admitted("kretprobe/x"), [T::Kprobe, T::Kretprobe]);
        assert_eq!(admitted("uretprobe/x"), [T::Uprobe, T::Uretprobe]);
        assert_eq!(admitted("xdp.frags"), [T::Xdp]);
        assert_eq!(admitted("kprobe.multi/x"), [T::KprobeMulti]);
        assert_eq!(admitted("usdt/x"), [T::Usdt]);
        assert_eq!(admitted("freplace/x"), [T::Freplace]);
        assert_eq!(admitted("lirc_mode2"), [T::LircMode2]);
        let mut any = TYPES_OF_ANY_SECTION.to_vec();
        any.sort_by_key(|of_any| T::ALL.iter().position(|known| known == of_any));
        assert_eq!(admitted("something_else"), any);
    }
}

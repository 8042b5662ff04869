//! Hooks of cgroups, sockmaps and netkit devices: their names and numbers.

use crate::ProgramType;
use crate::uapi::attach_type as number;

/// Hook that programs of a type can select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketHook {
    /// Name, the last part of libbpf's section name: `connect4` of `cgroup/connect4`, `verdict` of `sk_skb/verdict`.
    pub name: &'static str,
    /// Number in `enum bpf_attach_type`.
    pub attach_type: u32,
}

const fn hook(name: &'static str, attach_type: u32) -> SocketHook {
    SocketHook { name, attach_type }
}

const SKB: [SocketHook; 2] =
    [hook("ingress", number::CGROUP_INET_INGRESS), hook("egress", number::CGROUP_INET_EGRESS)];
const SOCK: [SocketHook; 4] = [
    hook("sock_create", number::CGROUP_INET_SOCK_CREATE),
    hook("sock_release", number::CGROUP_INET_SOCK_RELEASE),
    hook("post_bind4", number::CGROUP_INET4_POST_BIND),
    hook("post_bind6", number::CGROUP_INET6_POST_BIND),
];
/// Hooks of socket addresses. Those for unix sockets exist since Linux 6.7, `getpeername` and `getsockname` since 5.8.
const SOCK_ADDR: [SocketHook; 17] = [
    hook("bind4", number::CGROUP_INET4_BIND),
    hook("bind6", number::CGROUP_INET6_BIND),
    hook("connect4", number::CGROUP_INET4_CONNECT),
    hook("connect6", number::CGROUP_INET6_CONNECT),
    hook("connect_unix", number::CGROUP_UNIX_CONNECT),
    hook("sendmsg4", number::CGROUP_UDP4_SENDMSG),
    hook("sendmsg6", number::CGROUP_UDP6_SENDMSG),
    hook("sendmsg_unix", number::CGROUP_UNIX_SENDMSG),
    hook("recvmsg4", number::CGROUP_UDP4_RECVMSG),
    hook("recvmsg6", number::CGROUP_UDP6_RECVMSG),
    hook("recvmsg_unix", number::CGROUP_UNIX_RECVMSG),
    hook("getpeername4", number::CGROUP_INET4_GETPEERNAME),
    hook("getpeername6", number::CGROUP_INET6_GETPEERNAME),
    hook("getpeername_unix", number::CGROUP_UNIX_GETPEERNAME),
    hook("getsockname4", number::CGROUP_INET4_GETSOCKNAME),
    hook("getsockname6", number::CGROUP_INET6_GETSOCKNAME),
    hook("getsockname_unix", number::CGROUP_UNIX_GETSOCKNAME),
];
const SOCKOPT: [SocketHook; 2] =
    [hook("getsockopt", number::CGROUP_GETSOCKOPT), hook("setsockopt", number::CGROUP_SETSOCKOPT)];
const SYSCTL: [SocketHook; 1] = [hook("sysctl", number::CGROUP_SYSCTL)];
const DEVICE: [SocketHook; 1] = [hook("dev", number::CGROUP_DEVICE)];
const SK_SKB: [SocketHook; 3] = [
    hook("stream_parser", number::SK_SKB_STREAM_PARSER),
    hook("stream_verdict", number::SK_SKB_STREAM_VERDICT),
    hook("verdict", number::SK_SKB_VERDICT),
];
/// Ends of a netkit device (Linux 6.7).
const NETKIT: [SocketHook; 2] = [hook("primary", number::NETKIT_PRIMARY), hook("peer", number::NETKIT_PEER)];
const SK_MSG: [SocketHook; 1] = [hook("sk_msg", number::SK_MSG_VERDICT)];
const SOCK_OPS: [SocketHook; 1] = [hook("sockops", number::CGROUP_SOCK_OPS)];

impl SocketHook {
    /// Returns the hooks of a type for cgroups, sockmaps or netkit devices. Empty for other types, and for
    /// `lsm_cgroup`, because the kernel's BTF names its hooks.
    #[must_use]
    pub const fn of_type(program_type: ProgramType) -> &'static [Self] {
        match program_type {
            ProgramType::CgroupSkb => &SKB,
            ProgramType::CgroupSock => &SOCK,
            ProgramType::CgroupSockAddr => &SOCK_ADDR,
            ProgramType::CgroupSockopt => &SOCKOPT,
            ProgramType::CgroupSysctl => &SYSCTL,
            ProgramType::CgroupDevice => &DEVICE,
            ProgramType::SockOps => &SOCK_OPS,
            ProgramType::SkSkb => &SK_SKB,
            ProgramType::SkMsg => &SK_MSG,
            ProgramType::Netkit => &NETKIT,
            _ => &[],
        }
    }

    /// Returns the hook of this name that programs of a type can select.
    #[must_use]
    pub fn named(program_type: ProgramType, name: &str) -> Option<&'static Self> {
        Self::of_type(program_type).iter().find(|hook| hook.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::SocketHook;
    use crate::{LoadTarget, ProgramType, TypeScope};

    #[test]
    fn each_hook_is_of_one_type() {
        let all: Vec<_> = ProgramType::ALL.into_iter().flat_map(SocketHook::of_type).collect();
        let names: BTreeSet<_> = all.iter().map(|hook| hook.name).collect();
        let numbers: BTreeSet<_> = all.iter().map(|hook| hook.attach_type).collect();
        assert_eq!((names.len(), numbers.len()), (all.len(), all.len()));
    }

    #[test]
    fn a_type_with_several_hooks_has_to_say_which() {
        for program_type in ProgramType::ALL {
            let hooks = SocketHook::of_type(program_type);
            let says = program_type.load_target() == Some(LoadTarget::SocketHook);
            assert_eq!(hooks.len() > 1, says, "{program_type}");
            let of_groups = matches!(program_type.scope(), TypeScope::Cgroup | TypeScope::Sockets);
            assert_eq!(
                !hooks.is_empty() || program_type == ProgramType::LsmCgroup,
                of_groups || program_type == ProgramType::Netkit,
                "{program_type}"
            );
        }
    }
}

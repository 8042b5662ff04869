//! Names of numbers, as bpftool writes them; unknown numbers stay numbers.

const ATTACH_TYPES: [&str; 62] = [
    "cgroup_inet_ingress",
    "cgroup_inet_egress",
    "cgroup_inet_sock_create",
    "cgroup_sock_ops",
    "sk_skb_stream_parser",
    "sk_skb_stream_verdict",
    "cgroup_device",
    "sk_msg_verdict",
    "cgroup_inet4_bind",
    "cgroup_inet6_bind",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup_sysctl",
    "cgroup_udp4_recvmsg",
    "cgroup_udp6_recvmsg",
    "cgroup_getsockopt",
    "cgroup_setsockopt",
    "trace_raw_tp",
    "trace_fentry",
    "trace_fexit",
    "modify_return",
    "lsm_mac",
    "trace_iter",
    "cgroup_inet4_getpeername",
    "cgroup_inet6_getpeername",
    "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname",
    "xdp_devmap",
    "cgroup_inet_sock_release",
    "xdp_cpumap",
    "sk_lookup",
    "xdp",
    "sk_skb_verdict",
    "sk_reuseport_select",
    "sk_reuseport_select_or_migrate",
    "perf_event",
    "trace_kprobe_multi",
    "lsm_cgroup",
    "struct_ops",
    "netfilter",
    "tcx_ingress",
    "tcx_egress",
    "trace_uprobe_multi",
    "cgroup_unix_connect",
    "cgroup_unix_sendmsg",
    "cgroup_unix_recvmsg",
    "cgroup_unix_getpeername",
    "cgroup_unix_getsockname",
    "netkit_primary",
    "netkit_peer",
    "trace_kprobe_session",
    "trace_uprobe_session",
    "trace_fsession",
    "trace_fentry_multi",
    "trace_fexit_multi",
    "trace_fsession_multi",
];

const LINK_TYPES: [&str; 16] = [
    "unspec",
    "raw_tracepoint",
    "tracing",
    "cgroup",
    "iter",
    "netns",
    "xdp",
    "perf_event",
    "kprobe_multi",
    "struct_ops",
    "netfilter",
    "tcx",
    "uprobe_multi",
    "netkit",
    "sockmap",
    "tracing_multi",
];

fn named(names: &[&str], number: u32) -> String {
    names.get(number as usize).map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// Returns the name of an `enum bpf_attach_type`.
#[must_use]
pub fn attach_type(number: u32) -> String {
    named(&ATTACH_TYPES, number)
}

/// Returns the name of an `enum bpf_link_type`.
#[must_use]
pub fn link_type(number: u32) -> String {
    named(&LINK_TYPES, number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uapi;

    #[test]
    fn names_are_those_of_the_numbers() {
        for (number, name) in [
            (uapi::attach_type::FLOW_DISSECTOR, "flow_dissector"),
            (uapi::attach_type::XDP, "xdp"),
            (uapi::attach_type::TCX_EGRESS, "tcx_egress"),
            (uapi::attach_type::TRACE_UPROBE_SESSION, "trace_uprobe_session"),
            (58, "trace_fsession"),
            (61, "trace_fsession_multi"),
            (999, "999"),
        ] {
            assert_eq!(attach_type(number), name);
        }
        assert_eq!(link_type(uapi::link_type::SOCKMAP), "sockmap");
        assert_eq!(link_type(15), "tracing_multi");
        assert_eq!(link_type(16), "16");
    }
}

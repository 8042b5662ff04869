//! Calls that tenants' programs may make: they read only what the probed task can read. Calls are forbidden if they
//! read kernel memory or addresses, write data or logs that others read, change the task, or run later in another task.

use std::collections::BTreeSet;

use bpfman_model::{Insn, ProgramText, ProgramType, TypeScope, op};

use super::helper_names::HELPER_NAMES;

const ANY_TYPE: &[&str] = &[
    "map_lookup_elem",
    "map_update_elem",
    "map_delete_elem",
    "map_push_elem",
    "map_pop_elem",
    "map_peek_elem",
    "map_lookup_percpu_elem",
    "for_each_map_elem",
    "spin_lock",
    "spin_unlock",
    "loop",
    "perf_event_output",
    "ringbuf_output",
    "ringbuf_reserve",
    "ringbuf_submit",
    "ringbuf_discard",
    "ringbuf_query",
    "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr",
    "ringbuf_discard_dynptr",
    "dynptr_from_mem",
    "dynptr_read",
    "dynptr_write",
    "dynptr_data",
    "ktime_get_ns",
    "ktime_get_boot_ns",
    "ktime_get_coarse_ns",
    "ktime_get_tai_ns",
    "jiffies64",
    "get_prandom_u32",
    "get_smp_processor_id",
    "get_numa_node_id",
    "strtol",
    "strtoul",
    "strncmp",
];

/// Helpers of programs that run in tasks: identity of the task, and its own memory.
const TRACING: &[&str] = &[
    "get_current_pid_tgid",
    "get_ns_current_pid_tgid",
    "get_current_uid_gid",
    "get_current_comm",
    "get_current_cgroup_id",
    "get_current_ancestor_cgroup_id",
    "current_task_under_cgroup",
    "probe_read_user",
    "probe_read_user_str",
    "copy_from_user",
    "get_func_arg",
    "get_func_ret",
    "get_func_arg_cnt",
];

/// Helpers of other programs. In a task, the guard of a tail-called program would not know the first program's link.
const NETWORK: &[&str] = &[
    "tail_call",
    "skb_store_bytes",
    "skb_load_bytes",
    "skb_load_bytes_relative",
    "skb_vlan_push",
    "skb_vlan_pop",
    "skb_get_tunnel_key",
    "skb_set_tunnel_key",
    "skb_get_tunnel_opt",
    "skb_set_tunnel_opt",
    "skb_change_proto",
    "skb_change_type",
    "skb_change_tail",
    "skb_change_head",
    "skb_pull_data",
    "skb_adjust_room",
    "skb_under_cgroup",
    "skb_cgroup_id",
    "skb_ancestor_cgroup_id",
    "skb_cgroup_classid",
    "skb_get_xfrm_state",
    "skb_ecn_set_ce",
    "skb_set_tstamp",
    "l3_csum_replace",
    "l4_csum_replace",
    "csum_diff",
    "csum_update",
    "csum_level",
    "clone_redirect",
    "redirect",
    "redirect_map",
    "redirect_neigh",
    "get_cgroup_classid",
    "get_route_realm",
    "get_hash_recalc",
    "set_hash_invalid",
    "set_hash",
    "get_socket_cookie",
    "get_socket_uid",
    "get_netns_cookie",
    "fib_lookup",
    "check_mtu",
    "xdp_adjust_head",
    "xdp_adjust_meta",
    "xdp_adjust_tail",
    "xdp_get_buff_len",
    "xdp_load_bytes",
    "xdp_store_bytes",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "skc_lookup_tcp",
    "sk_release",
    "sk_fullsock",
    "tcp_sock",
    "get_listener_sock",
    "tcp_check_syncookie",
    "tcp_gen_syncookie",
    "tcp_raw_gen_syncookie_ipv4",
    "tcp_raw_gen_syncookie_ipv6",
    "tcp_raw_check_syncookie_ipv4",
    "tcp_raw_check_syncookie_ipv6",
    "sk_assign",
    "sk_cgroup_id",
    "sk_ancestor_cgroup_id",
];

/// Helpers that need CAP_PERFMON, in program types that load without it: allowed only if a grant names them.
const OF_PERFMON: &[&str] = &[
    "trace_printk",
    "trace_vprintk",
    "get_current_task",
    "get_current_task_btf",
    "probe_read",
    "probe_read_str",
    "probe_read_user",
    "probe_read_user_str",
    "probe_read_kernel",
    "probe_read_kernel_str",
    "snprintf",
    "snprintf_btf",
    "task_pt_regs",
    "skc_to_tcp6_sock",
    "skc_to_tcp_sock",
    "skc_to_tcp_timewait_sock",
    "skc_to_tcp_request_sock",
    "skc_to_udp6_sock",
    "skc_to_unix_sock",
    "skc_to_mptcp_sock",
];

const KERNEL_FUNCTIONS: &[&str] = &[
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_dynptr_adjust",
    "bpf_dynptr_clone",
    "bpf_dynptr_is_null",
    "bpf_dynptr_is_rdonly",
    "bpf_dynptr_size",
    "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr",
    "bpf_dynptr_from_skb",
    "bpf_dynptr_from_xdp",
    "bpf_xdp_metadata_rx_hash",
    "bpf_xdp_metadata_rx_timestamp",
    "bpf_xdp_metadata_rx_vlan_tag",
];

/// Calls that a program of a type may make, for one tenant.
#[derive(Clone, Debug)]
pub struct Calls<'a> {
    program_type: ProgramType,
    granted: &'a BTreeSet<String>,
}

/// A forbidden call of a tenant's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForbiddenUse {
    /// Function with the call.
    pub function: String,
    /// Index of the instruction, counted from that function's start.
    pub at: usize,
    /// Name of the helper or kernel function, by which a grant may allow it; none if no grant can.
    pub name: Option<String>,
    /// Description, such as "helper bpf_probe_read_kernel".
    pub what: String,
}

impl<'a> Calls<'a> {
    /// Creates the calls of all tenants, with those granted to this one, by name.
    #[must_use]
    pub const fn new(program_type: ProgramType, granted: &'a BTreeSet<String>) -> Self {
        Self { program_type, granted }
    }

    /// Refuses the first forbidden call of a linked program. `kernel_function`: name by type id and module index.
    pub fn check(
        &self,
        text: &ProgramText,
        kernel_function: impl Fn(&Insn) -> Option<String>,
    ) -> Result<(), ForbiddenUse> {
        let mut at = 0;
        while let Some(insn) = text.insns.get(at) {
            if let Some((name, what)) = self.refused(insn, &kernel_function) {
                return Err(self.forbidden(text, at, name, what));
            }
            at += if insn.is_ld_imm64() { 2 } else { 1 };
        }
        Ok(())
    }

    /// Returns whether a checked program's loader needs CAP_PERFMON, for a helper or a granted kernel function.
    pub fn need_perfmon(
        &self,
        text: &ProgramText,
        kernel_function: impl Fn(&Insn) -> Option<String>,
    ) -> bool {
        text.insns.iter().any(|insn| match (insn.code == op::CALL, insn.src()) {
            (true, 0) => helper_name(insn.imm).is_some_and(|name| OF_PERFMON.contains(&name)),
            (true, op::PSEUDO_KFUNC_CALL) => {
                kernel_function(insn).is_none_or(|name| !KERNEL_FUNCTIONS.contains(&name.as_str()))
            }
            _ => false,
        })
    }

    pub(super) fn forbidden(
        &self,
        text: &ProgramText,
        at: usize,
        name: Option<String>,
        what: String,
    ) -> ForbiddenUse {
        let inside = |start: usize, len: usize| (start..start + len).contains(&at);
        let function = text.functions.iter().find(|function| inside(function.start, function.len));
        ForbiddenUse {
            function: function.map_or_else(|| text.name.clone(), |function| function.name.clone()),
            at: at - function.map_or(0, |function| function.start),
            name,
            what,
        }
    }

    pub(super) fn is_granted(&self, name: &str) -> bool {
        self.granted.contains(name)
    }

    fn refused(
        &self,
        insn: &Insn,
        kernel_function: &impl Fn(&Insn) -> Option<String>,
    ) -> Option<(Option<String>, String)> {
        if insn.is_ld_imm64() && insn.src() == op::PSEUDO_BTF_ID {
            return Some((None, "the address of a variable of the kernel".to_owned()));
        }
        match (insn.code == op::CALL, insn.src()) {
            (true, 0) => {
                let Some(name) = helper_name(insn.imm) else {
                    let unknown = (0..NO_HELPERS).contains(&insn.imm);
                    return unknown.then(|| (None, format!("helper number {}", insn.imm)));
                };
                let allowed = self.allows_helper(name);
                (!allowed).then(|| (Some(format!("bpf_{name}")), format!("helper bpf_{name}")))
            }
            (true, op::PSEUDO_KFUNC_CALL) => match kernel_function(insn) {
                Some(name) if KERNEL_FUNCTIONS.contains(&name.as_str()) || self.granted.contains(&name) => {
                    None
                }
                Some(name) => Some((Some(name.clone()), format!("kernel function {name}"))),
                None => Some((None, "a kernel function without a name".to_owned())),
            },
            _ => None,
        }
    }

    fn allows_helper(&self, name: &str) -> bool {
        let of_type = if is_of_tasks(self.program_type) { TRACING } else { NETWORK };
        ANY_TYPE.contains(&name)
            || of_type.contains(&name)
            || self.granted.iter().any(|granted| granted.strip_prefix("bpf_") == Some(name))
    }
}

const fn is_of_tasks(program_type: ProgramType) -> bool {
    !matches!(program_type.scope(), TypeScope::Interface)
}

/// A number that no helper has, so that the verifier refuses a reachable call. Later kernels may assign smaller ones.
const NO_HELPERS: i32 = 1 << 16;

pub(super) fn helper_name(number: i32) -> Option<&'static str> {
    HELPER_NAMES.get(usize::try_from(number).ok()?).copied()
}

/// Returns whether the kernel has a helper of this name, `bpf_` included.
#[must_use]
pub fn is_helper(name: &str) -> bool {
    name.strip_prefix("bpf_").is_some_and(|name| HELPER_NAMES[1..].contains(&name))
}

#[cfg(test)]
#[path = "allowed_tests.rs"]
mod tests;

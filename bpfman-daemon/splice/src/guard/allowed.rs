//! Calls that tenants' programs may make.
//!
//! Only the calls in the list are allowed. A tenant's program may read what the probed task could read itself, and pass
//! it on by its own maps. It may not read the kernel's memory or addresses, write data that others read, change the
//! task's behaviour, run later when another task may be the current one, or write to logs that others read.

use std::collections::BTreeSet;

use bpfmand_core::{Insn, ProgramText, ProgramType, TypeScope, op};

use super::helper_names::HELPER_NAMES;

/// For all types: maps, rings, clocks, numbers, loops.
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

/// For programs in tasks: identity of the task, and its own memory.
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

/// For packets. Tail calls between programs in tasks would end in the guard test of the next program, which does not
/// know the link of the first.
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
    "skc_to_tcp6_sock",
    "skc_to_tcp_sock",
    "skc_to_tcp_timewait_sock",
    "skc_to_tcp_request_sock",
    "skc_to_udp6_sock",
    "skc_to_mptcp_sock",
];

/// Kernel functions for all types: loops, dynamic pointers and what the packet's driver knows.
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

    /// Checks all instructions of a linked program, including its other functions and callbacks. `kernel_function`
    /// returns the name of a kernel function by its type id and its module's index.
    ///
    /// # Errors
    /// The first forbidden call.
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

    /// Creates the error for an instruction.
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

    /// Returns whether root granted a helper or kernel function, by its whole name.
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

/// Returns whether programs of a type run in the context of arbitrary tasks.
const fn is_of_tasks(program_type: ProgramType) -> bool {
    !matches!(program_type.scope(), TypeScope::Interface)
}

/// Numbers from here on are not helpers of any kernel, and stand for what this kernel lacks: the verifier refuses them
/// where they are reachable. Smaller numbers may be helpers of later kernels.
const NO_HELPERS: i32 = 1 << 16;

fn helper_name(number: i32) -> Option<&'static str> {
    HELPER_NAMES.get(usize::try_from(number).ok()?).copied()
}

/// Returns whether the kernel has a helper of this name, `bpf_` included.
#[must_use]
pub fn is_helper(name: &str) -> bool {
    name.strip_prefix("bpf_").is_some_and(|name| HELPER_NAMES[1..].contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(insns: Vec<Insn>) -> ProgramText {
        let mut text = bpfmand_core::BoundText::of_one_function("entry", "GPL", insns).0;
        text.functions[0].len = 2;
        let rest = text.insns.len() - 2;
        text.functions.push(bpfmand_core::FunctionSpan { name: "callee".to_owned(), start: 2, len: rest });
        text
    }

    fn helper(name: &str) -> Insn {
        let number = HELPER_NAMES.iter().position(|known| *known == name).unwrap();
        Insn::new(op::CALL, 0, 0, 0, number as i32)
    }

    const NOTHING: Insn = Insn::new(op::EXIT, 0, 0, 0, 0);

    fn check(program_type: ProgramType, insn: Insn, granted: &[&str]) -> Result<(), ForbiddenUse> {
        let granted = granted.iter().map(|name| (*name).to_owned()).collect();
        let text = program(vec![NOTHING, NOTHING, NOTHING, insn, NOTHING]);
        Calls::new(program_type, &granted).check(&text, |_| Some("bpf_some_function".to_owned()))
    }

    #[test]
    fn every_listed_name_is_a_helper() {
        for name in [ANY_TYPE, TRACING, NETWORK].concat() {
            assert!(is_helper(&format!("bpf_{name}")), "{name}");
        }
        assert!(!is_helper("bpf_unspec") && !is_helper("probe_read") && !is_helper("bpf_fly"));
    }

    #[test]
    fn kernel_reads_and_foreign_writes_are_refused_in_functions_too() {
        for name in [
            "probe_read",
            "probe_read_str",
            "probe_read_kernel",
            "probe_read_kernel_str",
            "probe_write_user",
            "send_signal",
            "send_signal_thread",
            "override_return",
            "trace_printk",
            "trace_vprintk",
            "get_current_task",
            "get_current_task_btf",
            "get_stack",
            "get_stackid",
            "get_func_ip",
            "get_attach_cookie",
            "copy_from_user_task",
            "timer_init",
            "snprintf",
            "per_cpu_ptr",
        ] {
            let refused = check(ProgramType::Uprobe, helper(name), &[]).unwrap_err();
            assert_eq!((refused.function.as_str(), refused.at), ("callee", 1));
            assert_eq!(refused.name, Some(format!("bpf_{name}")));
            assert!(check(ProgramType::Xdp, helper(name), &[]).is_err(), "{name}");
            assert_eq!(check(ProgramType::Uprobe, helper(name), &[&format!("bpf_{name}")]), Ok(()));
        }
    }

    #[test]
    fn newer_helper_is_refused_and_an_unresolved_one_is_not() {
        let number = |imm| check(ProgramType::Uprobe, Insn::new(op::CALL, 0, 0, 0, imm), &["anything"]);
        let refused = number(HELPER_NAMES.len() as i32).unwrap_err();
        assert_eq!((refused.name, refused.what.as_str()), (None, "helper number 212"));
        assert!(number(0).is_err());
        // The linker writes this number for a call that depends on an unresolved relocation.
        assert_eq!(number(195_896_080), Ok(()));
    }

    #[test]
    fn a_type_has_its_own_helpers() {
        assert_eq!(check(ProgramType::Kprobe, helper("probe_read_user"), &[]), Ok(()));
        assert!(check(ProgramType::Tc, helper("probe_read_user"), &[]).is_err());
        assert_eq!(check(ProgramType::Tc, helper("skb_store_bytes"), &[]), Ok(()));
        // Past the programs of egress of the peer's other end.
        assert!(check(ProgramType::Tc, helper("redirect_peer"), &[]).is_err());
        assert!(check(ProgramType::Lsm, helper("skb_store_bytes"), &[]).is_err());
        assert!(check(ProgramType::Uprobe, helper("tail_call"), &[]).is_err());
    }

    #[test]
    fn kfuncs_and_kernel_variables_are_refused_unless_listed() {
        let call = Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, 7);
        let refused = check(ProgramType::Uprobe, call, &[]).unwrap_err();
        assert_eq!(refused.name.as_deref(), Some("bpf_some_function"));
        assert_eq!(check(ProgramType::Uprobe, call, &["bpf_some_function"]), Ok(()));
        let variable = Insn::new(op::LD_IMM64, 1, op::PSEUDO_BTF_ID, 0, 7);
        let refused = check(ProgramType::Uprobe, variable, &["anything"]).unwrap_err();
        assert_eq!((refused.name, refused.at), (None, 1));
        // The second half of an address is data, whatever its value.
        let text = program(vec![Insn::new(op::LD_IMM64, 1, 0, 0, 0), helper("send_signal"), NOTHING]);
        assert_eq!(Calls::new(ProgramType::Uprobe, &BTreeSet::new()).check(&text, |_| None), Ok(()));
    }
}

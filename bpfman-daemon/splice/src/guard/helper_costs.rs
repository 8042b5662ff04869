//! Time of helpers in instructions: the verifier counts each call as one, whatever it copies or searches.

use std::collections::BTreeMap;

use super::allowed::helper_name;
use super::constants::{Constant, RegisterConstants};

/// A map of a program's object, as far as the time of helpers depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapBounds {
    /// Most entries; none if only the loaded map has the number.
    pub entries: Option<u32>,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// True for a tree, with as many levels as a key has bits.
    pub is_trie: bool,
}

const COPIED: u64 = 16;
const MAX_STACK: u64 = 512;
/// Maximum size of a packet in bytes, also assumed for memory of unknown size and place.
const MAX_PACKET: u64 = 64 << 10;
const CALL: u64 = 20;
/// Cost of one level of a tree, or of a visited element, in instructions.
const VISIT: u64 = 10;
/// Cost of a lookup outside the program's maps, such as of a route or a socket.
const LOOKUP: u64 = 500;
/// Cost of helpers that reallocate a packet, send it, or format text.
const HEAVY: u64 = 2000;

/// Helpers that are compiled into the program, or only read a field.
const QUICK: &[&str] = &[
    "get_smp_processor_id",
    "get_numa_node_id",
    "jiffies64",
    "tail_call",
    "loop",
    "redirect",
    "get_current_pid_tgid",
    "get_current_uid_gid",
    "get_func_arg",
    "get_func_ret",
    "get_func_arg_cnt",
];

/// Helpers that look up something outside the program's maps, or compute a checksum.
const LOOKUPS: &[&str] = &[
    "fib_lookup",
    "sk_lookup_tcp",
    "sk_lookup_udp",
    "skc_lookup_tcp",
    "tcp_check_syncookie",
    "tcp_gen_syncookie",
    "tcp_raw_gen_syncookie_ipv4",
    "tcp_raw_gen_syncookie_ipv6",
    "tcp_raw_check_syncookie_ipv4",
    "tcp_raw_check_syncookie_ipv6",
    "probe_read_user",
    "probe_read_user_str",
    "copy_from_user",
    "get_hash_recalc",
];

/// Helpers that may copy a whole packet, send it, write text, or walk through a stack.
const HEAVIES: &[&str] = &[
    "clone_redirect",
    "skb_pull_data",
    "skb_change_proto",
    "skb_change_tail",
    "skb_change_head",
    "skb_adjust_room",
    "skb_vlan_push",
    "skb_vlan_pop",
    "skb_ecn_set_ce",
    "snprintf",
    "snprintf_btf",
    "trace_printk",
    "trace_vprintk",
    "get_stack",
    "get_stackid",
    "get_task_stack",
    "probe_write_user",
    "copy_from_user_task",
    "find_vma",
];

/// Helpers whose cost depends on a size of memory, with the registers of its address and its size.
const SIZED: &[(&str, u8, u8)] = &[
    ("probe_read", 1, 2),
    ("probe_read_str", 1, 2),
    ("probe_read_user", 1, 2),
    ("probe_read_user_str", 1, 2),
    ("probe_read_kernel", 1, 2),
    ("probe_read_kernel_str", 1, 2),
    ("copy_from_user", 1, 2),
    ("perf_event_output", 4, 5),
    ("ringbuf_output", 2, 3),
    ("skb_load_bytes", 3, 4),
    ("skb_load_bytes_relative", 3, 4),
    ("skb_store_bytes", 3, 4),
    ("xdp_load_bytes", 3, 4),
    ("xdp_store_bytes", 3, 4),
    ("dynptr_read", 1, 2),
    ("dynptr_write", 3, 4),
    ("csum_diff", 1, 2),
    ("csum_diff", 3, 4),
    ("strncmp", 1, 2),
    ("strtol", 1, 2),
    ("strtoul", 1, 2),
    ("snprintf", 1, 2),
];

/// Helpers that copy a value of the map in register 1.
const OF_VALUES: &[&str] = &["map_update_elem", "map_push_elem", "map_pop_elem", "map_peek_elem"];

pub(super) struct HelperCosts<'a> {
    pub(super) map: &'a dyn Fn(usize) -> Option<MapBounds>,
    /// Size of the largest map value: memory at an unknown place may be in one.
    pub(super) largest_value: u64,
}

impl HelperCosts<'_> {
    pub(super) fn of(&self, number: i32, registers: &RegisterConstants) -> u64 {
        let Some(name) = helper_name(number) else { return CALL };
        let base = match name {
            _ if QUICK.contains(&name) => return 0,
            _ if HEAVIES.contains(&name) => HEAVY + MAX_PACKET / COPIED,
            _ if LOOKUPS.contains(&name) => LOOKUP,
            _ => CALL,
        };
        let sized = SIZED.iter().filter(|(sized, _, _)| *sized == name);
        let copied: u64 = sized.map(|(_, place, size)| self.size(registers, *place, *size) / COPIED).sum();
        base + copied + self.of_map(name, registers)
    }

    fn size(&self, registers: &RegisterConstants, place: u8, size: u8) -> u64 {
        let most = match registers.get(place) {
            Constant::Frame(_) => MAX_STACK,
            _ => MAX_PACKET.max(self.largest_value),
        };
        match registers.get(size) {
            Constant::Number(size) => u64::from(size as u32).min(most),
            _ => most,
        }
    }

    fn of_map(&self, name: &str, registers: &RegisterConstants) -> u64 {
        if name == "perf_event_output" {
            // The upper half of the flags is the number of packet bytes that the helper also copies.
            return match registers.get(3) {
                Constant::Number(flags) => (flags >> 32).min(MAX_PACKET) / COPIED,
                _ => MAX_PACKET / COPIED,
            };
        }
        if !name.starts_with("map_") {
            return 0;
        }
        let unknown = MapBounds {
            value_size: u32::try_from(self.largest_value).unwrap_or(u32::MAX),
            key_size: MAX_STACK as u32,
            ..MapBounds::default()
        };
        let map = match registers.get(1) {
            Constant::Map(index) => (self.map)(index).unwrap_or(unknown),
            _ => unknown,
        };
        let value = if OF_VALUES.contains(&name) { u64::from(map.value_size) / COPIED } else { 0 };
        let key = u64::from(map.key_size);
        value + if map.is_trie { key * 8 * VISIT } else { key / COPIED }
    }

    pub(super) const fn of_visits(entries: u64) -> u64 {
        entries.saturating_mul(VISIT)
    }
}

pub(super) fn cost_at(costs: &BTreeMap<usize, u64>, at: usize) -> u64 {
    costs.get(&at).map_or(1, |cost| cost.saturating_add(1))
}

/// Cost of kernel functions other than those of iterators.
pub(super) const KERNEL_FUNCTION: u64 = CALL;

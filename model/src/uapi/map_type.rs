//! Numbers of `enum bpf_map_type`, of the types of maps that need special treatment.

#![expect(missing_docs, reason = "the kernel's names say it")]

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PROG_ARRAY: u32 = 3;
pub const PERF_EVENT_ARRAY: u32 = 4;
pub const PERCPU_HASH: u32 = 5;
pub const PERCPU_ARRAY: u32 = 6;
pub const STACK_TRACE: u32 = 7;
pub const CGROUP_ARRAY: u32 = 8;
pub const LRU_HASH: u32 = 9;
pub const LRU_PERCPU_HASH: u32 = 10;
pub const LPM_TRIE: u32 = 11;
pub const ARRAY_OF_MAPS: u32 = 12;
pub const HASH_OF_MAPS: u32 = 13;
pub const DEVMAP: u32 = 14;
pub const SOCKMAP: u32 = 15;
pub const CPUMAP: u32 = 16;
pub const XSKMAP: u32 = 17;
pub const SOCKHASH: u32 = 18;
pub const CGROUP_STORAGE: u32 = 19;
pub const PERCPU_CGROUP_STORAGE: u32 = 21;
pub const REUSEPORT_SOCKARRAY: u32 = 20;
pub const QUEUE: u32 = 22;
pub const STACK: u32 = 23;
pub const SK_STORAGE: u32 = 24;
pub const DEVMAP_HASH: u32 = 25;
pub const STRUCT_OPS: u32 = 26;
pub const RINGBUF: u32 = 27;
pub const INODE_STORAGE: u32 = 28;
pub const TASK_STORAGE: u32 = 29;
pub const BLOOM_FILTER: u32 = 30;
pub const USER_RINGBUF: u32 = 31;
pub const CGRP_STORAGE: u32 = 32;
pub const ARENA: u32 = 33;
pub const INSN_ARRAY: u32 = 34;
pub const RHASH: u32 = 35;

/// Maximum size of a ring buffer, in bytes: the largest power of two that fits the number of entries.
pub const MAX_RING_BYTES: u32 = 1 << 31;

/// Returns whether the kernel determines the layout of keys and values itself: it refuses type ids for them.
#[must_use]
pub const fn takes_no_types(kind: u32) -> bool {
    matches!(
        kind,
        PROG_ARRAY
            | PERF_EVENT_ARRAY
            | STACK_TRACE
            | CGROUP_ARRAY
            | ARRAY_OF_MAPS
            | HASH_OF_MAPS
            | DEVMAP
            | SOCKMAP
            | CPUMAP
            | XSKMAP
            | SOCKHASH
            | QUEUE
            | STACK
            | DEVMAP_HASH
            | ARENA
    )
}

/// Returns whether the values of a map are maps.
#[must_use]
pub const fn holds_maps(kind: u32) -> bool {
    matches!(kind, ARRAY_OF_MAPS | HASH_OF_MAPS)
}

/// Returns whether entries refer to other kernel objects and give more rights than setting them requires. A
/// map of maps accepts maps opened for reading, a program array runs a program in the place of its caller, and
/// devices and CPUs are set by number, cgroups by an open folder. Sockmaps are excluded, as the caller has all
/// rights on their sockets, and perf event arrays, as each reader adds its own events.
#[must_use]
pub const fn holds_objects(kind: u32) -> bool {
    holds_maps(kind) || matches!(kind, PROG_ARRAY | CGROUP_ARRAY | DEVMAP | DEVMAP_HASH | CPUMAP | STRUCT_OPS)
}

/// Returns whether the entries of a map are sockets that its programs redirect to.
#[must_use]
pub const fn is_sockmap(kind: u32) -> bool {
    matches!(kind, SOCKMAP | SOCKHASH)
}

/// Returns whether a map is a ring buffer: its entries are bytes, a power of two in whole pages.
#[must_use]
pub const fn is_ring(kind: u32) -> bool {
    matches!(kind, RINGBUF | USER_RINGBUF)
}

/// Returns whether each entry has a value for each CPU.
#[must_use]
pub const fn is_per_cpu(kind: u32) -> bool {
    matches!(kind, PERCPU_HASH | PERCPU_ARRAY | LRU_PERCPU_HASH | PERCPU_CGROUP_STORAGE)
}

/// Returns whether a load cannot choose the number of entries: local storage, and struct_ops.
#[must_use]
pub const fn has_no_entries(kind: u32) -> bool {
    matches!(
        kind,
        CGROUP_STORAGE
            | PERCPU_CGROUP_STORAGE
            | SK_STORAGE
            | STRUCT_OPS
            | INODE_STORAGE
            | TASK_STORAGE
            | CGRP_STORAGE
    )
}

/// Returns whether iteration meets each entry once: in a hash, a callback can delete entries and add them again ahead.
#[must_use]
pub const fn is_array(kind: u32) -> bool {
    matches!(kind, ARRAY | PERCPU_ARRAY)
}

/// Returns the helper by which programs create entries of storage maps, in which each socket, inode, task or cgroup can
/// have one; `None` for other maps.
#[must_use]
pub const fn storage_helper(kind: u32) -> Option<&'static str> {
    match kind {
        CGROUP_STORAGE | PERCPU_CGROUP_STORAGE => Some("bpf_get_local_storage"),
        SK_STORAGE => Some("bpf_sk_storage_get"),
        INODE_STORAGE => Some("bpf_inode_storage_get"),
        TASK_STORAGE => Some("bpf_task_storage_get"),
        CGRP_STORAGE => Some("bpf_cgrp_storage_get"),
        _ => None,
    }
}

/// Returns the size of a ring buffer, at least `asked` bytes: the kernel requires a power of two of whole pages. Rounds
/// as libbpf does.
#[must_use]
pub const fn ring_bytes(asked: u32, page: u32) -> u32 {
    let least = if asked < page { page } else { asked };
    match least.checked_next_power_of_two() {
        Some(bytes) => bytes,
        None => MAX_RING_BYTES,
    }
}

/// Returns the name of a type, as bpftool writes it; the number of an unknown one.
#[must_use]
pub fn name(kind: u32) -> String {
    const NAMES: [&str; 36] = [
        "unspec",
        "hash",
        "array",
        "prog_array",
        "perf_event_array",
        "percpu_hash",
        "percpu_array",
        "stack_trace",
        "cgroup_array",
        "lru_hash",
        "lru_percpu_hash",
        "lpm_trie",
        "array_of_maps",
        "hash_of_maps",
        "devmap",
        "sockmap",
        "cpumap",
        "xskmap",
        "sockhash",
        "cgroup_storage",
        "reuseport_sockarray",
        "percpu_cgroup_storage",
        "queue",
        "stack",
        "sk_storage",
        "devmap_hash",
        "struct_ops",
        "ringbuf",
        "inode_storage",
        "task_storage",
        "bloom_filter",
        "user_ringbuf",
        "cgrp_storage",
        "arena",
        "insn_array",
        "rhash",
    ];
    NAMES.get(kind as usize).map_or_else(|| kind.to_string(), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_numbers() {
        for (number, expected) in
            [(HASH, "hash"), (ARENA, "arena"), (INSN_ARRAY, "insn_array"), (RHASH, "rhash"), (99, "99")]
        {
            assert_eq!(name(number), expected);
        }
    }

    #[test]
    fn a_ring_is_rounded_up_to_a_power_of_two_of_pages() {
        for (asked, bytes) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (12_288, 16_384)] {
            assert_eq!(ring_bytes(asked, 4096), bytes, "{asked}");
        }
        assert_eq!((ring_bytes(5000, 65_536), ring_bytes(u32::MAX, 4096)), (65_536, MAX_RING_BYTES));
    }
}

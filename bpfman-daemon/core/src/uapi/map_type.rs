//! `enum bpf_map_type`: the numbers of the kernel's types of maps that need treatment of their own.

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
pub const PERCPU_CGROUP_STORAGE: u32 = 21;
pub const QUEUE: u32 = 22;
pub const STACK: u32 = 23;
pub const DEVMAP_HASH: u32 = 25;
pub const RINGBUF: u32 = 27;
pub const BLOOM_FILTER: u32 = 30;
pub const USER_RINGBUF: u32 = 31;
pub const ARENA: u32 = 33;

/// Maps whose keys and values the kernel lays out itself: it refuses type ids for them.
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

/// Maps whose values are maps.
#[must_use]
pub const fn holds_maps(kind: u32) -> bool {
    matches!(kind, ARRAY_OF_MAPS | HASH_OF_MAPS)
}

/// Rings: their entries are bytes, and a power of two of them, in whole pages.
#[must_use]
pub const fn is_ring(kind: u32) -> bool {
    matches!(kind, RINGBUF | USER_RINGBUF)
}

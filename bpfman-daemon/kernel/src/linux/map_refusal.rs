//! Reasons why the kernel refuses a map, from its definition: the kernel returns only an error number.

use bpfman_model::MapSpec;
use bpfman_model::map_type as of;

const NO_PREALLOC: u32 = 1;
const NUMA_NODE: u32 = 1 << 2;
/// `PCPU_MIN_UNIT_SIZE`, in bytes.
const MAX_PER_CPU: u32 = 32 << 10;
/// Bytes of a stack: 8 per function, and at most 127 functions (`kernel.perf_event_max_stack`, unless root changes it).
const MAX_STACK: u32 = 127 * 8;
/// Bytes of an LPM trie key: the prefix length, and up to 256 of address.
const PREFIX: u32 = 4;
const MAX_ADDRESS: u32 = 256;

pub fn reason(spec: &MapSpec, cpus: u32) -> Option<String> {
    sizes(spec).or_else(|| flags(spec)).or_else(|| entries(spec, cpus)).or_else(|| node(spec))
}

fn sizes(spec: &MapSpec) -> Option<String> {
    let MapSpec { map_type, key_size, value_size, .. } = *spec;
    let name = of::name(map_type);
    let key = |wanted: &str| {
        Some(format!("a map of type {name} has keys of {wanted}, and this one of {key_size} bytes"))
    };
    let value = |wanted: &str| {
        Some(format!("a map of type {name} has values of {wanted}, and this one of {value_size} bytes"))
    };
    match map_type {
        of::ARRAY
        | of::PERCPU_ARRAY
        | of::PROG_ARRAY
        | of::PERF_EVENT_ARRAY
        | of::CGROUP_ARRAY
        | of::ARRAY_OF_MAPS
        | of::DEVMAP
        | of::CPUMAP
        | of::XSKMAP
        | of::SOCKMAP
        | of::STACK_TRACE
        | of::DEVMAP_HASH
        | of::SK_STORAGE
        | of::INODE_STORAGE
        | of::TASK_STORAGE
        | of::CGRP_STORAGE
            if key_size != 4 =>
        {
            key("4 bytes")
        }
        of::LPM_TRIE if !(PREFIX + 1..=PREFIX + MAX_ADDRESS).contains(&key_size) => {
            key("4 bytes for the length of the prefix, and 1 to 256 for what it is of")
        }
        of::QUEUE | of::STACK | of::BLOOM_FILTER | of::RINGBUF | of::USER_RINGBUF | of::ARENA
            if key_size != 0 =>
        {
            Some(format!("a map of type {name} has no keys, and this one has keys of {key_size} bytes"))
        }
        of::RINGBUF | of::USER_RINGBUF | of::ARENA if value_size != 0 => {
            Some(format!("a map of type {name} has no values, and this one has values of {value_size} bytes"))
        }
        of::PROG_ARRAY
        | of::PERF_EVENT_ARRAY
        | of::CGROUP_ARRAY
        | of::ARRAY_OF_MAPS
        | of::HASH_OF_MAPS
        | of::XSKMAP
            if value_size != 4 =>
        {
            value("4 bytes")
        }
        of::DEVMAP | of::DEVMAP_HASH | of::CPUMAP if !matches!(value_size, 4 | 8) => {
            value("4 bytes, or of 8 with a program beside")
        }
        of::SOCKMAP | of::SOCKHASH if !matches!(value_size, 4 | 8) => value("4 or 8 bytes"),
        of::STACK_TRACE if value_size < 8 || value_size % 8 != 0 => {
            value("8 bytes for each function on the stack")
        }
        of::STACK_TRACE if value_size > MAX_STACK => value(
            "at most 8 bytes for each of kernel.perf_event_max_stack functions, 1016 unless that was changed",
        ),
        _ if of::is_per_cpu(map_type) && value_size.next_multiple_of(8) > MAX_PER_CPU => {
            value("at most 32768 bytes for each CPU")
        }
        _ if of::holds_maps(map_type) && spec.inner.is_none() => Some(format!(
            "a map of type {name} holds maps, and its definition does not say of which kind (`__array(values, …)`)"
        )),
        _ => None,
    }
}

fn flags(spec: &MapSpec) -> Option<String> {
    let name = of::name(spec.map_type);
    let needs = matches!(
        spec.map_type,
        of::LPM_TRIE | of::SK_STORAGE | of::INODE_STORAGE | of::TASK_STORAGE | of::CGRP_STORAGE
    );
    if needs && spec.flags & NO_PREALLOC == 0 {
        return Some(format!(
            "a map of type {name} needs the flag BPF_F_NO_PREALLOC (`__uint(map_flags, BPF_F_NO_PREALLOC)`)"
        ));
    }
    let refuses = matches!(
        spec.map_type,
        of::ARRAY
            | of::PERCPU_ARRAY
            | of::LRU_HASH
            | of::LRU_PERCPU_HASH
            | of::QUEUE
            | of::STACK
            | of::RINGBUF
    );
    if refuses && spec.flags & NO_PREALLOC != 0 {
        return Some(format!("a map of type {name} cannot have the flag BPF_F_NO_PREALLOC"));
    }
    let no_node = of::is_per_cpu(spec.map_type);
    if no_node && spec.flags & NUMA_NODE != 0 {
        return Some(format!(
            "a map of type {name} is on all nodes of memory, and cannot have the flag BPF_F_NUMA_NODE"
        ));
    }
    None
}

/// Checked last: for a missing NUMA node, the kernel returns the same error number as for any other defect.
fn node(spec: &MapSpec) -> Option<String> {
    (spec.flags & NUMA_NODE != 0).then(|| {
        format!(
            "a map of type {} asks for memory of NUMA node {}, which this machine may lack (/sys/devices/system/node/online)",
            of::name(spec.map_type),
            spec.numa_node
        )
    })
}

fn entries(spec: &MapSpec, cpus: u32) -> Option<String> {
    let MapSpec { map_type, max_entries, .. } = *spec;
    let name = of::name(map_type);
    // struct_ops maps have other rules for types and entries; cgroup storage maps accept no types.
    let is_storage =
        matches!(map_type, of::SK_STORAGE | of::INODE_STORAGE | of::TASK_STORAGE | of::CGRP_STORAGE);
    if of::has_no_entries(map_type) && map_type != of::STRUCT_OPS && max_entries != 0 {
        return Some(format!(
            "a map of type {name} has no number of entries, and this one has {max_entries}"
        ));
    }
    if is_storage && spec.btf_value_type_id == 0 {
        return Some(format!(
            "a map of type {name} needs types of its keys and values (build with -g, use `__type`)"
        ));
    }
    if map_type == of::CPUMAP && max_entries > cpus {
        return Some(format!(
            "a map of type {name} has an entry for each CPU: at most {cpus} here, and this one has {max_entries} (--map-size {}={cpus})",
            spec.name
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(map_type: u32, key: u32, value: u32, entries: u32, flags: u32) -> String {
        let spec = MapSpec { flags, ..MapSpec::sized("m", map_type, key, value, entries) };
        reason(&spec, 2).unwrap_or_default()
    }

    #[test]
    fn each_everyday_mistake_has_its_sentence() {
        for (map_type, key, value, entries, flags, words) in [
            (of::LPM_TRIE, 8, 4, 1, 0, "BPF_F_NO_PREALLOC"),
            (of::LPM_TRIE, 4, 4, 1, NO_PREALLOC, "length of the prefix"),
            (of::QUEUE, 4, 4, 1, 0, "has no keys"),
            (of::STACK_TRACE, 4, 12, 1, 0, "8 bytes for each function"),
            (of::STACK_TRACE, 4, 1024, 1, 0, "perf_event_max_stack"),
            (of::HASH_OF_MAPS, 4, 4, 1, 0, "holds maps"),
            (of::HASH_OF_MAPS, 4, 8, 1, 0, "values of 4 bytes"),
            (of::ARRAY, 8, 8, 1, 0, "keys of 4 bytes"),
            (of::DEVMAP, 4, 12, 1, 0, "values of 4 bytes"),
            (of::SK_STORAGE, 4, 8, 1, NO_PREALLOC, "no number of entries"),
            (of::SK_STORAGE, 4, 8, 0, 0, "BPF_F_NO_PREALLOC"),
            (of::SK_STORAGE, 8, 8, 0, NO_PREALLOC, "keys of 4 bytes"),
            (of::PERCPU_ARRAY, 4, 40_000, 1, 0, "32768 bytes for each CPU"),
            (of::LRU_HASH, 4, 8, 1, NO_PREALLOC, "cannot have the flag"),
            (of::PERCPU_HASH, 4, 8, 1, NUMA_NODE, "BPF_F_NUMA_NODE"),
            (of::HASH, 4, 8, 1, NUMA_NODE, "NUMA node 0"),
            (of::RINGBUF, 0, 8, 4096, 0, "has no values"),
            (of::CPUMAP, 4, 4, 64, 0, "--map-size m=2"),
            (of::TASK_STORAGE, 4, 8, 0, NO_PREALLOC, "needs types"),
        ] {
            let said = said(map_type, key, value, entries, flags);
            assert!(said.contains(words), "{}: {said:?} does not say {words:?}", of::name(map_type));
            assert!(said.contains(&of::name(map_type)), "{said}");
        }
    }

    #[test]
    fn nothing_is_made_up_about_a_sound_definition() {
        for (map_type, key, value, entries, flags) in [
            (of::ARRAY, 4, 8, 1, 0),
            (of::HASH, 600, 8, 1, NO_PREALLOC),
            (of::LPM_TRIE, 8, 4, 1, NO_PREALLOC),
            (of::QUEUE, 0, 4, 1, 0),
            (of::STACK_TRACE, 4, 1016, 1, 0),
            (of::CPUMAP, 4, 8, 2, 0),
            (of::RHASH, 4, 8, 1, NO_PREALLOC),
            (99, 4, 8, 1, 0),
        ] {
            assert_eq!(said(map_type, key, value, entries, flags), "", "{}", of::name(map_type));
        }
    }
}

//! Words for program and map types in labels, in the two vocabularies that tools use.

/// The first match counts, so longer prefixes come first. A prefix is the whole name, or is followed by `/` or `.`.
const SECTIONS: &[(&str, &str)] = &[
    ("kprobe", "kprobe"),
    ("kretprobe", "kretprobe"),
    ("ksyscall", "kprobe"),
    ("kretsyscall", "kretprobe"),
    ("uprobe", "uprobe"),
    ("uretprobe", "uretprobe"),
    ("tracepoint", "tracepoint"),
    ("tp", "tracepoint"),
    ("xdp", "xdp"),
    ("tcx", "tcx"),
    ("tc", "tc"),
    ("classifier", "tc"),
    ("action", "tc"),
    ("fentry", "fentry"),
    ("fexit", "fexit"),
    ("lsm_cgroup", "lsm_cgroup"),
    ("lsm", "lsm"),
    ("raw_tracepoint", "raw_tracepoint"),
    ("raw_tp", "raw_tracepoint"),
    ("tp_btf", "tp_btf"),
    ("perf_event", "perf_event"),
    ("cgroup_skb", "cgroup_skb"),
    ("cgroup/skb", "cgroup_skb"),
    ("cgroup/connect", "cgroup_sock_addr"),
    ("cgroup/sendmsg", "cgroup_sock_addr"),
    ("sockops", "sock_ops"),
    ("sk_msg", "sk_msg"),
    ("sk_skb", "sk_skb"),
    ("xdp_", "xdp"),
];

/// Returns the word for a program in `section`; none for types that images do not carry.
#[must_use]
pub fn program_type_of_section(section: &str) -> Option<&'static str> {
    // A leading `?` means "do not load by default" in libbpf.
    let section = section.strip_prefix('?').unwrap_or(section);
    SECTIONS.iter().find_map(|&(prefix, word)| {
        let rest = section.strip_prefix(prefix)?;
        // `connect` is followed by the address family: `cgroup/connect4`.
        let family = prefix.starts_with("cgroup/") && matches!(rest, "4" | "6");
        (rest.is_empty() || rest.starts_with(['/', '.']) || prefix.ends_with('_') || family).then_some(word)
    })
}

/// Returns v0.6.0's word for a program type.
#[must_use]
pub fn program_type_in_v06(word: &str) -> &str {
    match word {
        "kprobe" | "kretprobe" | "uprobe" | "uretprobe" => "probe",
        "fentry" | "fexit" => "tracing",
        // tcx programs have the kernel's scheduler classifier type, which v0.6.0 called tc.
        "tcx" => "tc",
        other => other,
    }
}

/// Returns whether `label`, in either vocabulary of tools, may describe a program of type `word`.
#[must_use]
pub fn label_may_mean(label: &str, word: &str) -> bool {
    label == word || label == program_type_in_v06(word)
}

/// Order of `enum bpf_map_type` (0 is `unspec`; 33 is `arena`, Linux 6.9).
const MAP_TYPES: [&str; 34] = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "per_cpu_hash",
    "per_cpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_per_cpu_hash",
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
    "per_cpu_cgroup_storage",
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
];

/// Returns the word for a kernel map type; `unspec` for numbers beyond the table.
#[must_use]
pub fn map_type_word(map_type: u32) -> &'static str {
    usize::try_from(map_type).ok().and_then(|at| MAP_TYPES.get(at)).copied().unwrap_or("unspec")
}

/// Returns the kernel's map type for a word.
#[must_use]
pub fn map_type_number(word: &str) -> Option<u32> {
    MAP_TYPES.iter().position(|known| *known == word).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_sections_have_the_words_of_the_field() {
        for (section, word) in [
            ("xdp", "xdp"),
            ("xdp/stats", "xdp"),
            ("xdp.frags", "xdp"),
            ("xdp_pass", "xdp"),
            ("?xdp", "xdp"),
            ("tc", "tc"),
            ("tc/ingress", "tc"),
            ("classifier/stats", "tc"),
            ("tcx/ingress", "tcx"),
            ("tp/sched/sched_switch", "tracepoint"),
            ("tracepoint/syscalls/sys_enter_kill", "tracepoint"),
            ("kprobe/try_to_wake_up", "kprobe"),
            ("kretprobe/try_to_wake_up", "kretprobe"),
            ("uprobe.s//bin/true:main", "uprobe"),
            ("uretprobe", "uretprobe"),
            ("fentry/vfs_unlink", "fentry"),
            ("fexit.s/vfs_unlink", "fexit"),
            ("lsm.s/bprm_committed_creds", "lsm"),
            ("lsm_cgroup/socket_bind", "lsm_cgroup"),
            ("raw_tp/sys_enter", "raw_tracepoint"),
            ("tp_btf/sched_switch", "tp_btf"),
            ("perf_event", "perf_event"),
            ("cgroup_skb/egress", "cgroup_skb"),
            ("cgroup/skb", "cgroup_skb"),
            ("cgroup/connect4", "cgroup_sock_addr"),
            ("sockops", "sock_ops"),
            ("sk_msg", "sk_msg"),
            ("sk_skb/stream_verdict", "sk_skb"),
        ] {
            assert_eq!(program_type_of_section(section), Some(word), "{section}");
        }
        for section in [".text", "license", "maps", "cgroup/dev", "cgroup/connect_unix", "xdpx", "tcpx"] {
            assert_eq!(program_type_of_section(section), None, "{section}");
        }
    }

    #[test]
    fn labels_of_both_vocabularies_are_understood() {
        assert!(label_may_mean("probe", "uretprobe"));
        assert!(label_may_mean("kprobe", "kprobe"));
        assert!(label_may_mean("tracing", "fexit"));
        assert!(!label_may_mean("xdp", "tc"));
    }

    #[test]
    fn map_words_read_back() {
        for number in 0..34 {
            assert_eq!(map_type_number(map_type_word(number)), Some(number));
        }
        assert_eq!(map_type_word(27), "ringbuf");
        assert_eq!(map_type_word(11), "lpm_trie");
        assert_eq!(map_type_word(4_000), "unspec");
        assert_eq!(map_type_number("no such map"), None);
    }
}

//! Words for program and map types in labels, in the two vocabularies that tools use.

use bpfman_model::map_type;

/// Prefixes of section names, and the word for each in labels. The first match counts, so longer prefixes come first. A
/// prefix is the whole name, or is followed by `/` or `.` (`xdp`, `xdp/name`, `xdp.frags`).
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

/// Number of map types with a word; the last one is `arena` (Linux 6.9).
const MAP_TYPES: u32 = map_type::ARENA + 1;

/// Returns the word for a kernel map type; `unspec` for numbers beyond the table.
#[must_use]
pub fn map_type_word(number: u32) -> String {
    let name = if number < MAP_TYPES { map_type::name(number) } else { map_type::name(0) };
    name.replace("percpu", "per_cpu")
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
    fn map_words_are_those_of_labels() {
        for (number, word) in [
            (5, "per_cpu_hash"),
            (10, "lru_per_cpu_hash"),
            (11, "lpm_trie"),
            (21, "per_cpu_cgroup_storage"),
            (27, "ringbuf"),
            (33, "arena"),
            (34, "unspec"),
            (4_000, "unspec"),
        ] {
            assert_eq!(map_type_word(number), word);
        }
    }
}

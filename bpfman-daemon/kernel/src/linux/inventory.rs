use aya::maps::MapType as M;
use aya::programs::{LsmAttachType, ProgramError, ProgramType as P};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

use crate::{HelperTypes, Inventory, TriedType};

const PROGRAM_TYPES: [(&str, P); 33] = [
    ("socket_filter", P::SocketFilter),
    ("kprobe", P::KProbe),
    ("sched_cls", P::SchedClassifier),
    ("sched_act", P::SchedAction),
    ("tracepoint", P::TracePoint),
    ("xdp", P::Xdp),
    ("perf_event", P::PerfEvent),
    ("cgroup_skb", P::CgroupSkb),
    ("cgroup_sock", P::CgroupSock),
    ("lwt_in", P::LwtInput),
    ("lwt_out", P::LwtOutput),
    ("lwt_xmit", P::LwtXmit),
    ("sock_ops", P::SockOps),
    ("sk_skb", P::SkSkb),
    ("cgroup_device", P::CgroupDevice),
    ("sk_msg", P::SkMsg),
    ("raw_tracepoint", P::RawTracePoint),
    ("cgroup_sock_addr", P::CgroupSockAddr),
    ("lwt_seg6local", P::LwtSeg6local),
    ("lirc_mode2", P::LircMode2),
    ("sk_reuseport", P::SkReuseport),
    ("flow_dissector", P::FlowDissector),
    ("cgroup_sysctl", P::CgroupSysctl),
    ("raw_tracepoint_writable", P::RawTracePointWritable),
    ("cgroup_sockopt", P::CgroupSockopt),
    ("tracing", P::Tracing),
    ("struct_ops", P::StructOps),
    ("ext", P::Extension),
    ("lsm", P::Lsm(LsmAttachType::Mac)),
    ("lsm_cgroup", P::Lsm(LsmAttachType::Cgroup)),
    ("sk_lookup", P::SkLookup),
    ("syscall", P::Syscall),
    ("netfilter", P::Netfilter),
];

const MAP_TYPES: [(&str, M); 33] = [
    ("hash", M::Hash),
    ("array", M::Array),
    ("prog_array", M::ProgramArray),
    ("perf_event_array", M::PerfEventArray),
    ("percpu_hash", M::PerCpuHash),
    ("percpu_array", M::PerCpuArray),
    ("stack_trace", M::StackTrace),
    ("cgroup_array", M::CgroupArray),
    ("lru_hash", M::LruHash),
    ("lru_percpu_hash", M::LruPerCpuHash),
    ("lpm_trie", M::LpmTrie),
    ("array_of_maps", M::ArrayOfMaps),
    ("hash_of_maps", M::HashOfMaps),
    ("devmap", M::DevMap),
    ("sockmap", M::SockMap),
    ("cpumap", M::CpuMap),
    ("xskmap", M::XskMap),
    ("sockhash", M::SockHash),
    ("cgroup_storage", M::CgroupStorage),
    ("reuseport_sockarray", M::ReuseportSockArray),
    ("percpu_cgroup_storage", M::PerCpuCgroupStorage),
    ("queue", M::Queue),
    ("stack", M::Stack),
    ("sk_storage", M::SkStorage),
    ("devmap_hash", M::DevMapHash),
    ("struct_ops", M::StructOps),
    ("ringbuf", M::RingBuf),
    ("inode_storage", M::InodeStorage),
    ("task_storage", M::TaskStorage),
    ("bloom_filter", M::BloomFilter),
    ("user_ringbuf", M::UserRingBuf),
    ("cgrp_storage", M::CgrpStorage),
    ("arena", M::Arena),
];

/// Loads some thousand minimal programs, which takes about a tenth of a second.
pub fn take() -> Inventory {
    let program_types: Vec<TriedType> = PROGRAM_TYPES
        .iter()
        .map(|(name, program_type)| TriedType { name, there: said(is_program_supported(*program_type)) })
        .collect();
    let map_types =
        MAP_TYPES.iter().map(|(name, map_type)| TriedType { name, there: said(is_map_supported(*map_type)) });
    let callers: Vec<_> = PROGRAM_TYPES
        .iter()
        .zip(&program_types)
        .filter(|(_, tried)| tried.there == Ok(true))
        .map(|(known, _)| known)
        .collect();
    let mut is_complete = true;
    let mut may_call = |program_type: P, helper| match is_helper_supported(program_type, helper) {
        Ok(may) => may,
        // Types bound to kernel objects cannot be tested.
        Err(ProgramError::UnexpectedProgramType) => false,
        Err(_) => {
            is_complete = false;
            false
        }
    };
    let mut found = Vec::new();
    for helper in helpers() {
        let may: Vec<_> = callers
            .iter()
            .filter(|(_, program_type)| may_call(*program_type, helper))
            .map(|(name, _)| *name)
            .collect();
        if !may.is_empty() {
            found.push(HelperTypes { name: name_of(helper), program_types: may });
        }
    }
    Inventory { map_types: map_types.collect(), helpers: found, program_types, is_complete }
}

fn said<E: std::error::Error>(answer: Result<bool, E>) -> Result<bool, String> {
    answer.map_err(|error| {
        let source = error.source().map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

fn helpers() -> impl Iterator<Item = BpfHelper> {
    let numbers = BpfHelper::BPF_FUNC_unspec as u32 + 1..BpfHelper::__BPF_FUNC_MAX_ID as u32;
    // SAFETY: `bpf_func_id` is `repr(u32)`, made of the kernel's enumeration, which counts without a gap up to its last
    // entry: each of these numbers is one of its values.
    numbers.map(|number| unsafe { std::mem::transmute::<u32, BpfHelper>(number) })
}

fn name_of(helper: BpfHelper) -> String {
    format!("{helper:?}").replacen("BPF_FUNC_", "bpf_", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_have_the_names_that_programs_call_them_by() {
        let names: Vec<String> = helpers().map(name_of).collect();
        assert_eq!((names[0].as_str(), names[6].as_str()), ("bpf_map_lookup_elem", "bpf_get_prandom_u32"));
        assert!(names.len() >= 211, "{}", names.len());
        assert!(names.iter().all(|name| name.starts_with("bpf_")), "{names:?}");
    }
}

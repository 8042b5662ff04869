use std::collections::BTreeSet;

use bpfman_apply::desired::{AttachmentKey, Load, Program};
use bpfman_apply::plan::{ApplicationSpec, desired};
use bpfman_model::ProgramType;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::ProgramTypeNumber;
use bpfman_proto::ext::v1::point::At;
use bpfman_proto::v1::attach_info::Info;
use bpfman_proto::v1::prog_specific_info::Info as Specific;
use bpfman_proto::{WirePoint, v1};

use crate::machines::{cluster, machine, owner};

const EVERY_TYPE: &str = include_str!("../../../application/tests/points.yaml");

fn load(spec: &ApplicationSpec) -> Load {
    let desired = desired(&owner(), spec, &machine());
    assert_eq!(desired.refused, []);
    desired.load.expect("it is wanted")
}

fn every_type() -> Load {
    let manifest: serde_json::Value = serde_norway::from_str(EVERY_TYPE).unwrap();
    load(&ApplicationSpec::read(None, manifest["spec"].clone()).unwrap())
}

fn of(load: &Load, kind: &str) -> Program {
    load.programs.iter().find(|program| program.program_type == kind).unwrap().clone()
}

fn keys(program: &Program) -> Vec<&str> {
    program.links.keys().map(|key| key.0.as_str()).collect()
}

fn at(program: &Program, key: &str) -> At {
    let point = &program.links[&AttachmentKey(key.to_owned())].point;
    point.as_more().unwrap_or_else(|| panic!("{point:?}")).clone()
}

#[test]
fn every_type_is_declared_by_its_number_and_what_it_is_for() {
    let load = every_type();
    let types = &ProgramType::ALL[10..ProgramType::MANIFEST_NAMES.len()];
    assert_eq!(load.request.info.len(), types.len());
    for (info, kind) in load.request.info.iter().zip(types) {
        match ProgramTypeNumber::try_from(info.program_type) {
            Ok(number) => assert_eq!(number.as_str_name().to_lowercase(), kind.name()),
            Err(_) => {
                assert_eq!((info.program_type, *kind), (v1::BpfmanProgramType::Lsm.into(), ProgramType::Lsm))
            }
        }
    }
    let told = |kind: ProgramType| {
        let at = types.iter().position(|one| *one == kind).unwrap();
        match load.request.info[at].info.clone()?.info? {
            Specific::FentryLoadInfo(info) => Some(info.fn_name),
            Specific::LsmLoadInfo(info) => Some(format!("lsm {}", info.hook_name)),
            Specific::FexitLoadInfo(info) => panic!("{info:?}"),
        }
    };
    assert_eq!(told(ProgramType::BtfTracepoint).as_deref(), Some("sched_switch"));
    assert_eq!(told(ProgramType::Lsm).as_deref(), Some("lsm file_open"));
    assert_eq!(told(ProgramType::CgroupSockAddr).as_deref(), Some("connect4"));
    assert_eq!(told(ProgramType::Iter), None, "its section says it");
    assert!(!load.request.metadata.keys().any(|key| key.starts_with(bpfman_proto::ACTUAL_TYPE_PREFIX)));
}

#[test]
fn points_on_the_node_are_attached_as_specified() {
    let load = every_type();
    assert_eq!(at(&of(&load, "RawTracePoint"), "sched_switch"), At::RawTracepoint("sched_switch".to_owned()));
    let addresses = of(&load, "CgroupSockAddr");
    assert_eq!(keys(&addresses), ["/a.slice", "/b.slice"]);
    assert_eq!(at(&addresses, "/b.slice"), At::Cgroup("/b.slice".to_owned()));
    let own = "what it was loaded for";
    assert_eq!(at(&of(&load, "TpBtf"), own), At::LoadedFor("tp_btf".to_owned()));
    assert_eq!(at(&of(&load, "Iter"), own), At::LoadedFor("iter".to_owned()));
    assert_eq!(keys(&of(&load, "FModRet")), [""; 0], "loaded, and not attached");
    let lsm = of(&load, "Lsm").links[&AttachmentKey(own.to_owned())].point.clone();
    assert_eq!(lsm, WirePoint::from(Info::LsmAttachInfo(v1::LsmAttachInfo::default())));
    let functions = vec!["tcp_*".to_owned(), "udp_sendmsg".to_owned()];
    assert_eq!(
        at(&of(&load, "KProbeMulti"), "tcp_*,udp_sendmsg"),
        At::KprobeMulti(ext::KprobeMultiPoint { functions })
    );
    let tick = of(&load, "PerfEvent");
    assert_eq!(keys(&tick), ["cpu-clock 99 Hz", "page-faults every 1 on CPU 0 of 7"]);
    let event =
        ext::PerfEventPoint { event: "cpu-clock".to_owned(), frequency: Some(99), ..Default::default() };
    assert_eq!(at(&tick, "cpu-clock 99 Hz"), At::PerfEvent(event));
    assert_eq!(at(&of(&load, "SkMsg"), "connections"), At::Sockmap("connections".to_owned()));
    assert_eq!(at(&of(&load, "StructOps"), "steady"), At::StructOps("steady".to_owned()));
    assert_eq!(at(&of(&load, "KSyscall"), "openat"), At::Ksyscall("openat".to_owned()));
    for kind in &ProgramType::ALL[41..ProgramType::MANIFEST_NAMES.len()] {
        assert_eq!((kind.block(), of(&load, kind.manifest_name().unwrap()).links.len()), (None, 0));
    }
}

#[test]
fn a_network_namespace_is_the_nodes_a_files_or_that_of_pods() {
    let load = every_type();
    let chosen = of(&load, "SkLookup");
    assert_eq!(keys(&chosen), ["netns", "netns in /run/netns/blue", "netns in pod uid-web net:11:1"]);
    assert_eq!(at(&chosen, "netns"), At::Netns(String::new()));
    assert_eq!(at(&chosen, "netns in /run/netns/blue"), At::Netns("/run/netns/blue".to_owned()));
    let of_pod = AttachmentKey("netns in pod uid-web net:11:1".to_owned());
    assert_eq!(chosen.links[&of_pod].point.netns().as_deref(), Some("/proc/11/ns/net"));
    assert_eq!(chosen.links[&of_pod].pod.as_deref(), Some("uid-web"));
    let filter = of(&load, "Netfilter");
    assert_eq!(
        keys(&filter),
        ["ipv4 input 10", "ipv4 output 7 in pod uid-web net:11:1", "ipv6 forward -5 in /run/netns/blue"]
    );
    let At::Netfilter(point) = at(&filter, "ipv6 forward -5 in /run/netns/blue") else { panic!() };
    let said =
        (point.family.as_str(), point.hook.as_str(), point.priority, point.defragment, point.netns.as_str());
    assert_eq!(said, ("ipv6", "forward", -5, true, "/run/netns/blue"));
    assert_eq!(keys(&of(&load, "Netkit")), ["nk0", "nk1 in /run/netns/blue"]);
}

#[test]
fn a_pod_whose_network_is_not_known_now_keeps_what_it_has() {
    let spec = cluster(
        "[{name: chosen, type: SkLookup, netns: {links: [{networkNamespaces: {pods: {matchLabels: {app: web}}}}]}}]",
    );
    let there = AttachmentKey("netns in pod uid-web net:11:1".to_owned());
    let mut facts = machine();
    facts.pods[0].netns = None;
    let between = desired(&owner(), &spec, &facts).load.unwrap().programs.remove(0);
    assert!(between.links.is_empty() && between.keeps(&there), "{between:?}");
    assert_eq!(between.problems.len(), 1, "{:?}", between.problems);
    facts.pods.remove(0);
    let gone = desired(&owner(), &spec, &facts).load.unwrap().programs.remove(0);
    assert!(!gone.keeps(&there), "the pod is gone");
    assert_eq!(gone.unmatched, ["netns.links[0].networkNamespaces"]);
}

#[test]
fn probes_of_binaries_go_into_the_containers_that_are_selected() {
    let load = every_type();
    let entries = of(&load, "UProbeMulti");
    let in_main = "libc:malloc in containerd://web-main";
    assert_eq!(keys(&entries), [in_main, "libc:malloc,free pid 7"]);
    let At::UprobeMulti(point) = at(&entries, in_main) else { panic!() };
    assert_eq!((point.container_pid, point.pid), (Some(21), None));
    let sold = of(&load, "Usdt");
    assert_eq!(
        keys(&sold),
        [
            "/usr/lib/libshop.so:shop:sold",
            "libshop:shop:sold in containerd://web-main",
            "libshop:shop:sold in containerd://web-side"
        ]
    );
    let none = cluster(
        "[{name: sold, type: Usdt, usdt: {links: [{target: x, provider: shop, name: sold, containers: {pods: {matchLabels: {app: none}}}}]}}]",
    );
    assert_eq!(of(&self::load(&none), "Usdt").unmatched, ["usdt.links[0].containers"]);
}

#[test]
fn many_functions_make_a_short_key_that_tells_them_from_others() {
    let key = |last: usize| {
        let functions: Vec<String> =
            (0..200).chain([last]).map(|number| format!("function_{number}")).collect();
        let program = format!(
            "[{{name: entries, type: KProbeMulti, kprobeMulti: {{links: [{{functions: [{}]}}]}}}}]",
            functions.join(",")
        );
        keys(&of(&load(&cluster(&program)), "KProbeMulti"))[0].to_owned()
    };
    assert!(key(1000).starts_with("function_0 and 200 more (") && key(1000).len() < 200, "{}", key(1000));
    assert_eq!(key(1000), key(1000));
    assert_ne!(key(1000), key(1001));
}

#[test]
fn another_target_or_type_makes_a_version_and_a_place_does_not() {
    let content = |program: &str| load(&cluster(&format!("[{program}]"))).content;
    let contents = [
        "{name: packets, type: CgroupSkb, cgroup: {}}",
        "{name: packets, type: CgroupSkb, target: ingress, cgroup: {}}",
        "{name: packets, type: CgroupSkb, target: egress, cgroup: {}}",
        "{name: packets, type: CgroupSock, cgroup: {}}",
    ]
    .map(content);
    assert_eq!(contents.iter().collect::<BTreeSet<_>>().len(), contents.len());
    let elsewhere =
        content("{name: packets, type: CgroupSkb, target: egress, cgroup: {links: [{path: /a}]}}");
    assert_eq!(elsewhere, contents[2]);
}

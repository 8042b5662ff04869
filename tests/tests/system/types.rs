//! Program types: loaded, described, attached, triggered, detached, unloaded.

use std::path::Path;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, kprobe, load, number, tc, tcx, tracepoint, uprobe, xdp};
use bpfman_tests::skip::{has_tcx, lacks, lacks_kprobes, lacks_tcx, refused};
use bpfman_tests::target::{self, Target};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, Wire, compile, kernel};
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, get, link, test_name, unload};

pub struct Probe {
    pub program: Program,
    pub place: u32,
}

impl Probe {
    pub fn load(wire: &Wire, name: &str, kind: Type, place: u32, only_process: u32) -> Self {
        let loaded = wire.load(Self::request(name, kind, only_process)).unwrap();
        Self { program: Program::of(&loaded.programs[0]), place }
    }

    pub fn request(name: &str, kind: Type, only_process: u32) -> v1::LoadRequest {
        use v1::prog_specific_info::Info as Specific;
        let mut request = load(&compile::object("probes"), &[(name, kind)]);
        request.global_data.insert("only_process".to_owned(), number(only_process.cast_signed()));
        let fn_name = kernel::entry_of("getpriority");
        request.info[0].info = match kind {
            Type::Fentry => Some(Specific::FentryLoadInfo(v1::FentryLoadInfo { fn_name })),
            Type::Fexit => Some(Specific::FexitLoadInfo(v1::FexitLoadInfo { fn_name })),
            Type::Lsm => Some(Specific::LsmLoadInfo(v1::LsmLoadInfo { hook_name: "file_open".to_owned() })),
            _ => None,
        }
        .map(|info| v1::ProgSpecificInfo { info: Some(info) });
        request
    }

    pub fn fired(&self) -> u64 {
        kernel::array_value(kernel::map_named(&self.program.maps, "fired"), self.place)
    }

    pub fn attach(&self, wire: &Wire, info: Info) -> u32 {
        wire.attach(attach(self.program.id, info)).unwrap().link_id
    }
}

fn assert_detached_at_return(daemon: &Daemon, wire: &Wire, link_id: u32) {
    let kernel_link = link(wire, link_id).kernel_link_id.unwrap();
    assert!(kernel::has_link(kernel_link));
    detach(wire, link_id);
    assert_eq!(kernel::held_by(daemon.pid()), [""; 0]);
    kernel::link_ends(kernel_link);
}

fn assert_fires(
    name: &str,
    kind: Type,
    kernel_type: u32,
    place: u32,
    info: impl Fn() -> Info,
    act: impl Fn(&mut Target),
) {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    let probe = Probe::load(&wire, name, kind, place, target.pid());
    let facts = get(&wire, probe.program.id).kernel_info.unwrap();
    assert_eq!((facts.program_type, facts.id), (kernel_type, probe.program.id));
    act(&mut target);
    assert_eq!(probe.fired(), 0, "not attached yet");
    let first = probe.attach(&wire, info());
    act(&mut target);
    assert_eq!(probe.fired(), 1);
    assert_eq!(get(&wire, probe.program.id).info.unwrap().links, [first]);
    assert_detached_at_return(&daemon, &wire, first);
    act(&mut target);
    assert_eq!(probe.fired(), 1, "detached");
    let again = probe.attach(&wire, info());
    let kernel_link = link(&wire, again).kernel_link_id.unwrap();
    unload(&wire, probe.program.id);
    assert_eq!(kernel::held_by(daemon.pid()), [""; 0]);
    kernel::program_ends(probe.program.id);
    kernel::link_ends(kernel_link);
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn a_tracepoint_program_fires_while_it_is_attached() {
    assert_fires(
        "on_tracepoint",
        Type::Tracepoint,
        5,
        0,
        || tracepoint("syscalls/sys_enter_getpriority"),
        Target::get_priority,
    );
}

#[test]
fn a_uprobe_fires_while_it_is_attached() {
    let binary = target::binary().display().to_string();
    assert_fires(
        "on_uprobe",
        Type::Uprobe,
        2,
        3,
        || Info::UprobeAttachInfo(uprobe(&binary, "probed")),
        Target::call,
    );
}

#[test]
fn a_uretprobe_fires_while_it_is_attached() {
    let binary = target::binary().display().to_string();
    assert_fires(
        "on_uretprobe",
        Type::Uprobe,
        2,
        4,
        || Info::UprobeAttachInfo(uprobe(&binary, "probed")),
        Target::call,
    );
}

#[test]
fn a_kprobe_fires_while_it_is_attached() {
    if !lacks_kprobes(&test_name()) {
        assert_fires(
            "on_kprobe",
            Type::Kprobe,
            2,
            1,
            || kprobe(&kernel::entry_of("getpriority")),
            Target::get_priority,
        );
    }
}

#[test]
fn a_kretprobe_fires_while_it_is_attached() {
    if !lacks_kprobes(&test_name()) {
        assert_fires(
            "on_kretprobe",
            Type::Kprobe,
            2,
            2,
            || kprobe(&kernel::entry_of("getpriority")),
            Target::get_priority,
        );
    }
}

#[test]
fn an_fentry_program_fires_while_it_is_attached() {
    if !lacks("fentry", "sample_fentry", &test_name()) {
        let info = || Info::FentryAttachInfo(v1::FentryAttachInfo::default());
        assert_fires("on_fentry", Type::Fentry, 26, 5, info, Target::get_priority);
    }
}

#[test]
fn an_fexit_program_fires_while_it_is_attached() {
    if !lacks("fexit", "sample_fexit", &test_name()) {
        let info = || Info::FexitAttachInfo(v1::FexitAttachInfo::default());
        assert_fires("on_fexit", Type::Fexit, 26, 6, info, Target::get_priority);
    }
}

#[test]
fn an_lsm_program_fires_while_it_is_attached() {
    if !lacks("lsm", "sample_lsm", &test_name()) {
        let info = || Info::LsmAttachInfo(v1::LsmAttachInfo::default());
        assert_fires("on_lsm", Type::Lsm, 29, 7, info, Target::open);
    }
}

#[test]
fn kernel_refusal_is_reported_clearly_and_changes_nothing() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (sample, name, kind) in [
        ("sample_fentry", "on_fentry", Type::Fentry),
        ("sample_fexit", "on_fexit", Type::Fexit),
        ("sample_lsm", "on_lsm", Type::Lsm),
    ] {
        // Checked only if the kernel refuses the type: otherwise the tests above show that it works.
        if refused(sample) {
            assert_status(wire.load(Probe::request(name, kind, 0)), Code::Aborted, "kernel-refused", &[name]);
            assert_eq!(daemon.state(), before);
        }
    }
    if !Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        let probe = Probe::load(&wire, "on_kprobe", Type::Kprobe, 1, 0);
        let before = daemon.state();
        let status =
            wire.attach(attach(probe.program.id, kprobe(&kernel::entry_of("getpriority")))).unwrap_err();
        assert!(matches!(status.code(), Code::Aborted | Code::Unimplemented), "{status:?}");
        assert_eq!(daemon.state(), before);
    }
}

#[test]
fn daemon_lists_types_of_this_kernel_and_why_others_lack() {
    let daemon = Daemon::start();
    let before = daemon.state();
    let info = daemon.wire().info(bpfman_proto::ext::v1::InfoRequest {}).unwrap();
    let mut expected: Vec<(&str, bool)> =
        ["xdp", "tc", "tracepoint", "uprobe", "uretprobe"].map(|name| (name, true)).into();
    expected.push(("tcx", has_tcx()));
    for name in ["fentry", "fexit", "lsm"] {
        expected.push((name, !refused(&format!("sample_{name}"))));
    }
    for name in ["kprobe", "kretprobe"] {
        expected.push((name, Path::new("/sys/bus/event_source/devices/kprobe").exists()));
    }
    for (name, there) in expected {
        assert_eq!(info.features.get(name), Some(&there), "{name}: {:?}", info.reasons);
        assert_eq!(info.reasons.contains_key(name), !there, "{name}: {:?}", info.reasons);
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn failed_return_probe_attach_with_offset_leaves_nothing() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let probe = Probe::load(&wire, "on_kretprobe", Type::Kprobe, 2, 0);
    let before = daemon.state();
    let info = v1::KprobeAttachInfo { fn_name: "vfs_read".to_owned(), offset: 8, ..Default::default() };
    wire.attach(attach(probe.program.id, Info::KprobeAttachInfo(info))).unwrap_err();
    assert_eq!(daemon.state(), before);
}

#[test]
fn one_program_takes_several_attachments() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    let probe = Probe::load(&wire, "on_tracepoint", Type::Tracepoint, 0, target.pid());
    let enter = probe.attach(&wire, tracepoint("syscalls/sys_enter_getpriority"));
    let exit = probe.attach(&wire, tracepoint("syscalls/sys_exit_getpriority"));
    target.get_priority();
    assert_eq!(probe.fired(), 2);
    let mut links = get(&wire, probe.program.id).info.unwrap().links;
    links.sort_unstable();
    assert_eq!(links, [enter, exit]);
    detach(&wire, enter);
    target.get_priority();
    assert_eq!(probe.fired(), 3);
    assert_eq!(get(&wire, probe.program.id).info.unwrap().links, [exit]);
}

#[test]
fn pin_removed_by_hand_ends_the_link_and_detach_succeeds() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let probe = Probe::load(&wire, "on_tracepoint", Type::Tracepoint, 0, 0);
    let id = probe.attach(&wire, tracepoint("syscalls/sys_enter_getpriority"));
    let shown = link(&wire, id);
    assert_eq!(Path::new(&shown.pin_path), daemon.fs().join("links").join(id.to_string()));
    let kernel_link = shown.kernel_link_id.unwrap();
    std::fs::remove_file(&shown.pin_path).unwrap();
    // The kernel ends a link some time after its last reference is gone.
    kernel::link_ends(kernel_link);
    assert_ne!(link(&wire, id).state, "ok");
    detach(&wire, id);
    assert_eq!(get(&wire, probe.program.id).info.unwrap().links, [0; 0]);
    unload(&wire, probe.program.id);
}

#[test]
fn xdp_tc_and_tcx_programs_see_packets_while_they_are_attached() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let (near, far) = (network.near.path(), network.far.path());
    let bare = kernel::hooks(&far);
    for (name, kind, kernel_type, info) in [
        ("xdp_member", Type::Xdp, 6, xdp(&far, INTERFACE, 50, &[])),
        ("tc_member", Type::Tc, 3, tc(&far, INTERFACE, "ingress", 50, &[])),
        ("tc_member", Type::Tc, 3, tc(&near, INTERFACE, "egress", 50, &[])),
        ("tcx_member", Type::Tcx, 3, tcx(&far, INTERFACE, "ingress", 50)),
        ("tcx_member", Type::Tcx, 3, tcx(&near, INTERFACE, "egress", 50)),
    ] {
        if kind == Type::Tcx && lacks_tcx(&test_name()) {
            continue;
        }
        let verdict = if kind == Type::Xdp { 2 } else { 0 };
        let program = Program::member(&wire, name, kind, 1, verdict);
        let facts = get(&wire, program.id).kernel_info.unwrap();
        assert_eq!(facts.program_type, kernel_type);
        assert_eq!(traffic.send(1), 1);
        assert_eq!(program.hits(), 0);
        let link_id = wire.attach(attach(program.id, info)).unwrap().link_id;
        assert_eq!(traffic.send(2), 2, "{name}");
        assert_eq!(program.hits(), 2, "{name}");
        if kind == Type::Tc && !has_tcx() {
            detach(&wire, link_id);
        } else {
            assert_detached_at_return(&daemon, &wire, link_id);
        }
        assert_eq!(traffic.send(1), 1);
        assert_eq!(program.hits(), 2, "{name}");
        unload(&wire, program.id);
        assert_eq!(kernel::hooks(&far), bare);
    }
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn facts_come_from_the_kernel() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let facts = get(&wire, program.id).kernel_info.unwrap();
    let said = kernel::program(program.id);
    assert_eq!(facts.name, said["name"]);
    assert_eq!(facts.tag, said["tag"]);
    assert_eq!(facts.gpl_compatible, said["gpl_compatible"]);
    assert_eq!(u64::from(facts.btf_id), said["btf_id"].as_u64().unwrap());
    assert_eq!(u64::from(facts.bytes_xlated), said["bytes_xlated"].as_u64().unwrap());
    assert_eq!(u64::from(facts.bytes_jited), said["bytes_jited"].as_u64().unwrap());
    assert_eq!(u64::from(facts.bytes_memlock), said["bytes_memlock"].as_u64().unwrap());
    assert_eq!(serde_json::json!(facts.map_ids), said["map_ids"]);
    assert!(facts.jited && facts.verified_insns > 0);
    // The time is in UTC, to the second, by the kernel's clock.
    let loaded = said["loaded_at"].as_i64().unwrap();
    let date = bpfman_tests::command::run(&["date", "-u", "-d", &facts.loaded_at, "+%s"]);
    assert!((date.trim().parse::<i64>().unwrap() - loaded).abs() <= 1, "{} is not {loaded}", facts.loaded_at);
    let listed =
        wire.list(v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() }).unwrap();
    assert_eq!(listed.results[0].kernel_info.as_ref(), Some(&facts));
}

//! User-space probes: of one process, at returns, and by the name of their target.

use std::path::Path;
use std::process::Command;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::requests::{attach, uprobe};
use bpfman_tests::target::{self, Target};
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch};
use serde_json::Value;
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, get, link};
use crate::types::Probe;

#[test]
fn a_uretprobe_fires_at_the_return_and_not_at_the_entry() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    let entry = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, target.pid());
    let exit = Probe::load(&wire, "on_uretprobe", Type::Uprobe, 4, target.pid());
    let binary = target::binary().display().to_string();
    for probe in [&entry, &exit] {
        probe.attach(&wire, Info::UprobeAttachInfo(uprobe(&binary, "probed")));
    }
    target.enter();
    assert_eq!((entry.fired(), exit.fired()), (1, 0));
    target.leave();
    assert_eq!((entry.fired(), exit.fired()), (1, 1));
}

#[test]
fn probe_loaded_as_return_probe_fires_at_return_in_any_section() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    let mut request = Probe::request("on_uprobe", Type::Uprobe, target.pid());
    request.metadata.insert("bpfman.io/actual-type:on_uprobe".to_owned(), "uretprobe".to_owned());
    let loaded = wire.load(request).unwrap();
    let probe = Probe { program: Program::of(&loaded.programs[0]), place: 3 };
    assert!(
        get(&wire, probe.program.id).info.unwrap().metadata.is_empty(),
        "it is no metadata of the program"
    );
    let binary = target::binary().display().to_string();
    let id = probe.attach(&wire, Info::UprobeAttachInfo(uprobe(&binary, "probed")));
    assert_eq!(link(&wire, id).program_type, "uretprobe");
    target.enter();
    assert_eq!(probe.fired(), 0);
    target.leave();
    assert_eq!(probe.fired(), 1);
}

fn watchful() -> Daemon {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    Daemon::start_with(&Launch { config, ..Launch::default() })
}

#[test]
fn a_uprobe_follows_a_file_that_is_replaced() {
    let daemon = watchful();
    let wire = daemon.wire();
    let (app, new) = (daemon.path("app"), daemon.path("new"));
    let put = |contents: &Path| {
        std::fs::copy(contents, &new).unwrap();
        std::fs::rename(&new, &app).unwrap();
    };
    put(&target::binary());
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let id = probe.attach(&wire, Info::UprobeAttachInfo(uprobe(&app.display().to_string(), "probed")));
    let before = link(&wire, id).kernel_link_id;
    put(&target::binary());
    until("it is in the new file", || link(&wire, id).kernel_link_id != before);
    assert_eq!(link(&wire, id).state, "ok");
    Target::start_by(&mut Command::new(&app)).call();
    assert_eq!(probe.fired(), 1, "once: it is not in both");
    put(Path::new("/bin/true"));
    until("its state names the file", || link(&wire, id).state.starts_with("elsewhere: the file at"));
    let found = daemon.bpfman("doctor");
    assert!(found.stdout.contains("was replaced"), "{}", found.stdout);
    put(&target::binary());
    until("it is in the newest file", || link(&wire, id).state == "ok");
    detach(&wire, id);
}

#[test]
fn a_uprobe_of_a_process_that_ended_is_to_be_detached() {
    let daemon = watchful();
    let wire = daemon.wire();
    let watched = Target::start();
    let pid = watched.pid();
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let binary = target::binary().display().to_string();
    let info = v1::UprobeAttachInfo { pid: Some(pid.cast_signed()), ..uprobe(&binary, "probed") };
    let id = probe.attach(&wire, Info::UprobeAttachInfo(info));
    assert_eq!(link(&wire, id).state, "ok");
    drop(watched);
    let says = format!("gone: process {pid}, which it was attached to, has ended");
    until("its process is gone", || link(&wire, id).state == says);
    let report: Value = serde_json::from_str(&daemon.bpfman("doctor -o json").stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(finding["fix"], format!("bpfman detach {id}"), "{report}");
    let shown: Value =
        serde_json::from_str(&daemon.bpfman(&format!("get link {id} -o json")).stdout).unwrap();
    assert!(shown.to_string().contains("\"standing\":\"gone\""), "{shown}");
    detach(&wire, id);
}

#[test]
fn a_uprobe_of_one_process_leaves_others_alone() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let (mut watched, mut other) = (Target::start(), Target::start());
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let binary = target::binary().display().to_string();
    let info = v1::UprobeAttachInfo { pid: Some(watched.pid().cast_signed()), ..uprobe(&binary, "probed") };
    probe.attach(&wire, Info::UprobeAttachInfo(info));
    other.call();
    assert_eq!(probe.fired(), 0);
    watched.call();
    assert_eq!(probe.fired(), 1);
}

#[test]
fn a_uprobe_finds_a_library_by_its_name() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    for (count, library) in ["libc", "libc.so.6"].into_iter().enumerate() {
        let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, target.pid());
        probe.attach(&wire, Info::UprobeAttachInfo(uprobe(library, "getpriority")));
        target.get_priority();
        assert_eq!(probe.fired(), 1, "{count}: {library}");
    }
}

#[test]
fn a_uprobe_by_offset_alone_counts_from_the_start_of_the_file() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = Target::start();
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, target.pid());
    let binary = target::binary();
    let info = v1::UprobeAttachInfo {
        fn_name: None,
        offset: target::file_offset(&binary, "probed"),
        ..uprobe(&binary.display().to_string(), "")
    };
    probe.attach(&wire, Info::UprobeAttachInfo(info));
    target.call();
    assert_eq!(probe.fired(), 1);
}

#[test]
fn a_uprobe_finds_its_target_where_a_container_sees_it() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let inside = daemon.path("inside");
    std::fs::create_dir(&inside).unwrap();
    let script = format!(
        "mount -t tmpfs none {0} && cp {1} {0}/program && exec {0}/program",
        inside.display(),
        target::binary().display()
    );
    let mut contained = Target::start_by(Command::new("unshare").args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
    ]));
    let path = inside.join("program");
    assert!(!path.exists(), "it is to be seen from inside alone");
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let info = uprobe(&path.display().to_string(), "probed");
    let outside = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(info.clone())));
    assert_status(outside, Code::NotFound, "not-found", &[&path.display().to_string()]);
    let info = v1::UprobeAttachInfo { container_pid: Some(contained.pid().cast_signed()), ..info };
    let link = probe.attach(&wire, Info::UprobeAttachInfo(info));
    contained.call();
    assert_eq!(probe.fired(), 1);
    drop(contained);
    detach(&wire, link);
}

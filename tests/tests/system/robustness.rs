//! Damaged files, invalid requests and callers without permission: each gets a clear error and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::{attach, image, load, pairs, xdp};
use bpfman_tests::{Daemon, compile};
use tonic::Code;

use crate::equipment::{assert_status, reason};

fn damages() -> Vec<(&'static str, Vec<u8>)> {
    let sound = fs::read(compile::object("chain")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut damaged = sound.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    vec![
        ("empty", Vec::new()),
        ("one-byte", vec![0x7f]),
        ("text", b"#!/bin/sh\nexit 0\n".repeat(20)),
        ("header-alone", sound[..64].to_vec()),
        ("half-a-header", sound[..40].to_vec()),
        ("half", sound[..sound.len() / 2].to_vec()),
        ("without-its-end", sound[..sound.len() - 10].to_vec()),
        ("32-bit", with(4, &[1])),
        ("big-endian", with(5, &[2])),
        ("executable", with(16, &2u16.to_le_bytes())),
        ("other-machine", with(18, &62u16.to_le_bytes())),
        ("section-table-far-out", with(40, &u64::MAX.to_le_bytes())),
        ("huge-section-table", with(60, &u16::MAX.to_le_bytes())),
        ("huge-section-headers", with(58, &u16::MAX.to_le_bytes())),
        ("string-table-far-out", with(62, &0xfff0u16.to_le_bytes())),
        ("zeros", vec![0; 1 << 16]),
    ]
}

#[test]
fn foreign_names_forge_no_log_line_and_control_no_terminal() {
    const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO bpfmand_image: signature verified\u{1b}]0;owned\u{7}";
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let loaded = wire.load(load(&compile::object("chain"), &[("xdp_member", Type::Xdp)])).unwrap();
    let id = loaded.programs[0].kernel_info.as_ref().unwrap().id;
    let on = |iface: &str, netns: &Path| xdp(netns, iface, 1, &[]);
    let of_image = v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation {
            location: Some(v1::bytecode_location::Location::Image(image(&format!("quay.io/{FORGED}:1"), 1))),
        }),
        ..load(Path::new("/"), &[("xdp_member", Type::Xdp)])
    };
    let outcomes = [
        wire.load(of_image).unwrap_err(),
        wire.load(load(Path::new(&format!("/{FORGED}")), &[("xdp_member", Type::Xdp)])).unwrap_err(),
        wire.load(load(&compile::object("chain"), &[(FORGED, Type::Xdp)])).unwrap_err(),
        wire.attach(attach(id, on(FORGED, Path::new("/proc/self/ns/net")))).unwrap_err(),
        wire.attach(attach(id, on("lo", Path::new(FORGED)))).unwrap_err(),
        wire.load(load(&compile::object("chain"), &[(&format!("{FORGED}2"), Type::Tc)])).unwrap_err(),
    ];
    for status in outcomes {
        assert!(!status.message().contains(char::is_control), "{status:?}");
        assert!(status.message().contains("\\u{1b}]0;owned"), "the name is told: {status:?}");
    }
    let log = daemon.log();
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{log}");
    assert!(log.contains("signature verified"), "it was about to be logged: {log}");
}

#[test]
fn damaged_objects_are_refused_and_change_nothing() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (name, bytes) in damages() {
        let path = daemon.path(format!("{name}.o"));
        fs::write(&path, bytes).unwrap();
        let status = wire.load(load(&path, &[("xdp_member", Type::Xdp)])).expect_err(name);
        assert_eq!(
            (status.code(), reason(&status)),
            (Code::InvalidArgument, "invalid"),
            "{name}: {status:?}"
        );
        assert!(!status.message().is_empty(), "{name}");
        let line = format!("load file -p {} --programs xdp:xdp_member", path.display());
        daemon.bpfman(&line).fails(6, &["error: "]);
        assert_eq!(daemon.state(), before, "{name}");
    }
    assert_eq!(fs::read_dir(daemon.path("run/state/bytecode")).unwrap().count(), 0);
}

#[test]
fn an_object_with_bytes_flipped_never_ends_the_daemon() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let sound = fs::read(compile::object("stranger")).unwrap();
    let path = daemon.path("flipped.o");
    for round in 0..120usize {
        let mut damaged = sound.clone();
        for hit in 0..4usize {
            let at = (round * 7919 + hit * 104_729) % damaged.len();
            damaged[at] ^= 1 << ((round + hit) % 8);
        }
        fs::write(&path, damaged).unwrap();
        if let Err(status) = wire.load(load(&path, &[("stranger", Type::Xdp)])) {
            assert_ne!(status.code(), Code::Internal, "round {round}: {status:?}");
            assert_ne!(status.code(), Code::Unavailable, "round {round}: {status:?}");
        }
    }
    let listed =
        wire.list(v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() }).unwrap();
    for result in listed.results {
        crate::equipment::unload(&wire, result.kernel_info.unwrap().id);
    }
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn paths_that_are_no_object_files_are_refused_by_name() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let folder = daemon.path("folder");
    fs::create_dir(&folder).unwrap();
    let pipe = daemon.path("pipe");
    bpfman_tests::command::run(&["mkfifo", &pipe.display().to_string()]);
    let large = daemon.path("large.o");
    fs::File::create(&large).unwrap().set_len((16 << 20) + 1).unwrap();
    for (path, kind, code) in [
        (folder, "invalid", 6),
        (daemon.path("absent.o"), "not-found", 5),
        (PathBuf::from("/dev/null"), "invalid", 6),
        (large, "too-large", 6),
        (PathBuf::from("/proc/self/mem"), "invalid", 6),
    ] {
        let name = path.display().to_string();
        let status = wire.load(load(&path, &[("f", Type::Xdp)])).expect_err(&name);
        assert_eq!(reason(&status), kind, "{status:?}");
        daemon.bpfman(&format!("load file -p {name} --programs xdp:f")).fails(code, &[]);
        assert_eq!(daemon.state(), before, "{name}");
    }
    for relative in ["x.o", "../x.o", "./x.o", ""] {
        assert_status(
            wire.load(load(Path::new(relative), &[("f", Type::Xdp)])),
            Code::InvalidArgument,
            "invalid",
            &[relative],
        );
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn a_pipe_does_not_hold_up_the_daemon() {
    let daemon = Daemon::start();
    let pipe = daemon.path("pipe");
    bpfman_tests::command::run(&["mkfifo", &pipe.display().to_string()]);
    let wire = daemon.wire();
    assert_status(
        wire.load(load(&pipe, &[("f", Type::Xdp)])),
        Code::InvalidArgument,
        "invalid",
        &[&pipe.display().to_string()],
    );
}

#[test]
fn oversize_requests_are_refused_and_change_nothing() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let sound = || load(&compile::object("chain"), &[("xdp_member", Type::Xdp)]);
    let metadata = v1::LoadRequest { metadata: pairs(&[("key", &"v".repeat(17 << 10))]), ..sound() };
    assert_status(wire.load(metadata), Code::InvalidArgument, "too-large", &["metadata"]);
    let mut globals = sound();
    globals.global_data.insert("verdict".to_owned(), vec![0; 25 << 10]);
    assert_status(wire.load(globals), Code::InvalidArgument, "too-large", &["global data"]);
    let message = v1::LoadRequest { metadata: pairs(&[("key", &"v".repeat(1 << 20))]), ..sound() };
    let status = wire.load(message).unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let program = crate::equipment::Program::of(&wire.load(sound()).unwrap().programs[0]).id;
    let loaded = daemon.state();
    let mut point = v1::XdpAttachInfo { iface: "lo".to_owned(), priority: 1, ..Default::default() };
    point.metadata = pairs(&[("key", &"v".repeat(17 << 10))]);
    let request = bpfman_tests::requests::attach(program, v1::attach_info::Info::XdpAttachInfo(point));
    assert_status(wire.attach(request), Code::InvalidArgument, "too-large", &["metadata"]);
    assert_eq!(daemon.state(), loaded);
    crate::equipment::unload(&wire, program);
    assert_eq!(daemon.state(), before);
}

#[test]
fn long_verifier_log_is_whole_on_request_or_else_a_summary() {
    let daemon = Daemon::start();
    let object = compile::object("broken").display().to_string();
    let plain = daemon.bpfman(&format!("load file -p {object} --programs xdp:broken"));
    plain.fails(8, &["error: ", "broken", "hint: ", "--verifier-log"]);
    assert!(plain.stderr.len() < 5000, "a summary: {}", plain.stderr);
    let whole = daemon.bpfman(&format!("load file -p {object} --programs xdp:broken --verifier-log"));
    whole.fails(8, &["error: ", "processed ", "insns"]);
    assert!(whole.stderr.len() > plain.stderr.len() + 5000, "{} bytes", whole.stderr.len());
}

const NOBODY: u32 = 65_534;

#[test]
fn others_than_root_may_not_use_the_socket_nor_load_files() {
    let daemon = Daemon::start();
    let before = daemon.state();
    daemon.open_to_users();
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o660)).unwrap();
    daemon.bpfman_as(NOBODY, "list programs").fails(4, &[&daemon.socket().display().to_string(), "hint: "]);
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    daemon.bpfman_as(NOBODY, "list programs").success();
    let object = compile::object("chain").display().to_string();
    let refused = daemon.bpfman_as(NOBODY, &format!("load file -p {object} --programs xdp:xdp_member"));
    refused.fails(4, &[&object, "hint: "]);
    let absent = daemon.bpfman_as(NOBODY, "load file -p /nonexistent/x.o --programs xdp:f");
    absent.fails(4, &["/nonexistent/x.o"]);
    assert_eq!(daemon.state(), before);
}

#[test]
fn full_disk_refuses_changes_and_keeps_what_is_there() {
    let mut daemon = Daemon::prepare();
    let state = daemon.path("disk");
    fs::create_dir(&state).unwrap();
    let disk = Disk::on(&state);
    let flags = vec!["--state-dir".to_owned(), state.display().to_string()];
    let launch = bpfman_tests::Launch { flags, ..Default::default() };
    daemon.again(&launch);
    let wire = daemon.wire();
    let sound = || load(&compile::object("chain"), &[("xdp_member", Type::Xdp)]);
    wire.load(sound()).unwrap();
    let before = daemon.state();
    disk.fill();
    let other = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    let status = wire.load(other.clone()).unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Internal, "internal"), "{status:?}");
    assert!(status.message().contains(&state.display().to_string()), "{status:?}");
    assert_eq!(daemon.state(), before);
    disk.empty();
    wire.load(other).unwrap();
}

struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn on(folder: &Path) -> Self {
        let path = folder.display().to_string();
        bpfman_tests::command::run(&["mount", "-t", "tmpfs", "-o", "size=8m", "none", &path]);
        Self { folder: folder.to_path_buf() }
    }

    fn fill(&self) {
        use std::io::Write as _;
        let mut file = fs::File::create(self.folder.join("filler")).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn empty(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.folder).output();
    }
}

//! Targets of user-space probes: libraries by name as a process has mapped them, and files that claim to be large.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::requests::{attach, uprobe};
use bpfman_tests::target::{self, Target};
use bpfman_tests::{Daemon, compile};
use tonic::Code;

use crate::equipment::assert_status;
use crate::types::Probe;

fn with_own_library(daemon: &Daemon) -> Target {
    let library = daemon.path("libown.so.3");
    fs::copy(compile::library("preloaded"), &library).unwrap();
    Target::start_by(Command::new(target::binary()).env("LD_PRELOAD", &library))
}

#[test]
fn a_library_is_found_by_what_the_process_has_mapped() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = with_own_library(&daemon);
    let pid = Some(target.pid().cast_signed());
    for (name, info) in [
        ("own", v1::UprobeAttachInfo { pid, ..uprobe("own", "getpriority") }),
        ("libown", v1::UprobeAttachInfo { container_pid: pid, ..uprobe("libown", "getpriority") }),
    ] {
        let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, target.pid());
        probe.attach(&wire, Info::UprobeAttachInfo(info));
        target.get_priority();
        assert_eq!(probe.fired(), 1, "{name}");
    }
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let info = uprobe("own", "getpriority");
    let anywhere = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(info)));
    assert_status(anywhere, Code::NotFound, "not-found", &["own", "loader's cache or its usual folders"]);
    let info = v1::UprobeAttachInfo { pid, ..uprobe("another", "getpriority") };
    let another = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(info)));
    let says = format!("what process {} has mapped", target.pid());
    assert_status(another, Code::NotFound, "not-found", &["another", &says]);
}

#[test]
fn a_library_that_was_removed_since_is_the_one_that_runs() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let mut target = with_own_library(&daemon);
    fs::remove_file(daemon.path("libown.so.3")).unwrap();
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, target.pid());
    let pid = Some(target.pid().cast_signed());
    let info = v1::UprobeAttachInfo { pid, ..uprobe("own", "getpriority") };
    probe.attach(&wire, Info::UprobeAttachInfo(info));
    target.get_priority();
    assert_eq!(probe.fired(), 1);
}

/// Finds the C library of a container without a loader cache, by a process that is not linked with it.
#[test]
fn a_library_is_found_in_a_container_without_a_loaders_cache() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let root = daemon.path("root");
    let folder = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(compile::library("preloaded"), folder.join("libc.so.6")).unwrap();
    // A static program needs no other file in its image.
    fs::copy(compile::static_executable("target"), root.join("program")).unwrap();
    let contained = Target::start_by(Command::new("chroot").arg(&root).arg("/program"));
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let info = v1::UprobeAttachInfo {
        container_pid: Some(contained.pid().cast_signed()),
        ..uprobe("libc", "getpriority")
    };
    probe.attach(&wire, Info::UprobeAttachInfo(info));
    let mut other =
        Target::start_by(Command::new(target::binary()).env("LD_PRELOAD", folder.join("libc.so.6")));
    other.get_priority();
    assert_eq!(probe.fired(), 1);
}

fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

fn sparse(path: &Path, headers: &[u8], strings_at: u64) {
    let file = fs::File::create(path).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(headers, 0).unwrap();
    file.write_all_at(b"\0probed\0", strings_at).unwrap();
}

fn large_tables(strings_at: u64) -> Vec<u8> {
    const SIZE: u64 = 96 << 20;
    let section = |kind: u32, at: u64, size: u64, link: u32| -> Vec<u8> {
        [
            [0_u32, kind].map(u32::to_le_bytes).concat(),
            [0_u64, 0, at, size].map(u64::to_le_bytes).concat(),
            [link, 0].map(u32::to_le_bytes).concat(),
            [8_u64, 24].map(u64::to_le_bytes).concat(),
        ]
        .concat()
    };
    [
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        [3_u16, 62].map(u16::to_le_bytes).concat(),
        1_u32.to_le_bytes().to_vec(),
        [0_u64, 0, 64].map(u64::to_le_bytes).concat(),
        0_u32.to_le_bytes().to_vec(),
        [64_u16, 56, 0, 64, 3, 0].map(u16::to_le_bytes).concat(),
        section(0, 0, 0, 0),
        section(2, 4096, SIZE, 2),
        section(3, strings_at, SIZE, 0),
    ]
    .concat()
}

#[test]
fn a_target_that_claims_to_be_large_takes_no_memory() {
    const MAX_KIB: u64 = 8 << 10;
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let probe = Probe::load(&wire, "on_uprobe", Type::Uprobe, 3, 0);
    let strings_at = 512 << 20;
    for (name, headers, says) in [
        ("nothing", Vec::new(), "is not a binary that can be probed"),
        ("tables", large_tables(strings_at), "has no function \"probed\""),
    ] {
        let path = daemon.path(name);
        sparse(&path, &headers, strings_at);
        let info = uprobe(&path.display().to_string(), "probed");
        forget_peak(daemon.pid());
        let before = peak(daemon.pid());
        let answer = wire.attach(attach(probe.program.id, Info::UprobeAttachInfo(info)));
        assert_status(answer, Code::NotFound, "not-found", &[&path.display().to_string(), says]);
        let grown = peak(daemon.pid()).saturating_sub(before);
        assert!(grown <= MAX_KIB, "{name}: {grown} KiB");
    }
}

//! Parts of an object that a load leaves out: each command that loads prints them, and the record keeps them.

use std::path::PathBuf;

use bpfman_proto::ext::v1 as ext;
use bpfman_tests::{Daemon, Launch, compile};

use crate::apply_equipment::{Machine, of_object, xdp};

fn object_with_damaged_lines(daemon: &Daemon) -> PathBuf {
    let mut bytes = std::fs::read(compile::object("chain")).unwrap();
    let is_header = |bytes: &[u8]| bytes == [0x9f, 0xeb, 1, 0];
    let at = bytes.windows(4).rposition(is_header).unwrap();
    bytes[at] = 0;
    let object = daemon.path("damaged.o");
    std::fs::write(&object, bytes).unwrap();
    object
}

#[test]
fn parts_that_a_load_left_out_outlast_the_daemon() {
    let mut daemon = Daemon::start();
    let object = object_with_damaged_lines(&daemon);
    let loaded = daemon.bpfman(&format!("load file {} --programs xdp:xdp_member", object.display()));
    assert!(loaded.stderr.contains("program \"xdp_member\": ") && loaded.stderr.contains("source lines"));
    let warnings = |daemon: &Daemon| {
        let request = ext::ListProgramsRequest::default();
        let programs = daemon.wire().list_programs(request).unwrap().programs;
        programs.into_iter().flat_map(|program| program.warnings).collect::<Vec<_>>()
    };
    let before = warnings(&daemon);
    assert!(matches!(&before[..], [one] if one.contains("source lines")), "{before:?}");
    daemon.kill();
    daemon.again(&Launch::default());
    assert_eq!(warnings(&daemon), before);
    let shown = daemon.bpfman("get program xdp_member");
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stderr.contains("program \"xdp_member\": its source lines"), "{shown:?}");
}

#[test]
fn run_and_apply_tell_parts_that_their_load_left_out() {
    let machine = Machine::new();
    let object = object_with_damaged_lines(&machine.daemon);
    let words = format!("run {} xdp_member --attach xdp:lo --for 1s", object.display());
    let ran = machine.daemon.bpfman(&words);
    assert!(ran.stderr.contains("note: xdp_member: its source lines"), "{ran:?}");
    let manifest = of_object(&object, &[xdp("xdp_member", 10)]);
    let applied = machine.run("apply", &manifest, "");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert!(applied.stderr.contains("judges: xdp_member: "), "{}", applied.stderr);
    assert!(applied.stderr.contains("source lines"), "{}", applied.stderr);
    machine.settled(&manifest);
}

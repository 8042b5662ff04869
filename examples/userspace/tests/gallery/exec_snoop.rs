use bpfman_tests::wait::within;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

#[test]
fn exec_snoop_prints_starts_without_its_daemon() {
    let mut gallery = Gallery::open();
    let program = gallery.load("exec-snoop", "--programs tracepoint:exec_snoop")[0];
    gallery
        .daemon
        .bpfman(&format!("attach {program} tracepoint --tracepoint sched/sched_process_exec"))
        .success();
    refusals(&mut gallery, "exec-snoop", program, "--count 1");
    let mut side = gallery.side_as(WATCHER, "exec-snoop");
    let mut side =
        side.args(["--json", "--program", &program.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(side.stdout.take().unwrap()).lines();
    let mut starts_seen = || {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let wanted = u64::from(child.id());
        let mut next = || within("a start to be reported", || lines.next()).unwrap().unwrap();
        while serde_json::from_str::<Value>(&next()).unwrap()["pid"] != wanted {}
        child.wait().unwrap();
    };
    starts_seen();
    gallery.daemon.kill();
    starts_seen();
    gallery.restart();
    starts_seen();
    side.kill().unwrap();
    within("the killed side to be gone", || side.wait()).unwrap();
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let manifest = gallery.manifest("exec-snoop");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    gallery.daemon.bpfman("wait program exec_snoop --for attached").success();
    gallery.side("exec-snoop", "--app exec-snoop --count 1 --json").success();
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("exec-snoop", "--app exec-snoop --count 1").fails(5, &["exec-snoop"]);
}

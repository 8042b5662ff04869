//! `bpfman doctor`: each kind of finding has an exit code, a reason and a command that helps.

use std::fs;
use std::path::PathBuf;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::run;
use bpfman_tests::network::{INTERFACE, Network};
use bpfman_tests::{Daemon, Launch};
use serde_json::Value;

use crate::equipment::Program;

fn examined(daemon: &Daemon) -> (i32, Vec<Value>) {
    let outcome = daemon.bpfman("doctor -o json");
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&report["schema"], &report["exit_code"]), (&1.into(), &outcome.code.into()), "{report}");
    let gravest =
        report["findings"].as_array().unwrap().iter().find(|found| found["exit_code"] == outcome.code);
    let status = gravest.map_or("ok", |found| found["class"].as_str().unwrap());
    assert_eq!(report["status"], status, "{report}");
    for found in report["findings"].as_array().unwrap() {
        assert!(found["fix"].is_string(), "{found}");
    }
    (outcome.code, report["findings"].as_array().unwrap().clone())
}

fn class_of(finding: &Value) -> (&str, u64) {
    (finding["class"].as_str().unwrap(), finding["exit_code"].as_u64().unwrap())
}

pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    pub fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", "size=12m,mode=0755", "tmpfs", &path.display().to_string()]);
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(&["umount", "-l", &self.0.display().to_string()]);
    }
}

#[test]
fn a_policy_that_cannot_be_read_is_a_finding_of_its_own() {
    let daemon = Daemon::start();
    assert_eq!(examined(&daemon), (0, vec![]));
    fs::write(daemon.path("policy.toml"), "[[grants]]\n").unwrap();
    let (code, findings) = examined(&daemon);
    assert_eq!(code, 16, "{findings:?}");
    assert_eq!(class_of(&findings[0]), ("policy", 16));
    assert!(findings[0]["why"].as_str().unwrap().contains("stays in force"), "{findings:?}");
}

#[test]
fn doctor_only_looks_and_leaves_no_entry_of_a_change() {
    let daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let entries = || daemon.bpfman("history -o json").json()["entries"].as_array().unwrap().clone();
    let before = entries();
    daemon.bpfman("doctor").success();
    daemon.bpfman("doctor").success();
    assert_eq!(entries(), before);
}

/// A user of the socket may see what runs, but not trace it. This is no finding about the machine.
#[test]
fn missing_right_of_the_caller_is_a_note() {
    let (daemon, network) = (crate::grants::daemon(String::new()), Network::new());
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let far = network.far.path().display().to_string();
    daemon
        .bpfman(&format!("attach {} xdp --iface {INTERFACE} --priority 50 --netns {far}", program.id))
        .success();
    assert_eq!(examined(&daemon), (0, vec![]));
    let report = daemon.bpfman_as(64_311, "doctor -o json").json();
    assert_eq!((&report["exit_code"], &report["findings"]), (&0.into(), &Value::Array(vec![])), "{report}");
    let notes = report["notes"].as_array().unwrap();
    let of_chain = notes.iter().find(|note| note["finding"].as_str().unwrap().contains("was not verified"));
    assert!(of_chain.is_some_and(|note| note["subject"].as_str().unwrap().contains(INTERFACE)), "{report}");
    assert_eq!(report["checked"]["chains"], 0, "{report}");
}

#[test]
fn a_disk_without_room_is_a_finding() {
    let mut daemon = Daemon::prepare();
    let disk = SmallDisk::at(daemon.path("small"));
    let flags = vec!["--state-dir".to_owned(), disk.0.display().to_string()];
    daemon.again(&Launch { flags, ..Launch::default() });
    let (code, findings) = examined(&daemon);
    assert_eq!((code, class_of(&findings[0])), (13, ("disk", 13)), "{findings:?}");
    assert_eq!(findings[0]["subject"], disk.0.display().to_string());
    daemon.kill();
}

#[test]
fn unwritable_history_and_a_clock_set_back_are_findings() {
    let mut daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    daemon.terminate();
    let folder = daemon.path("run/state/journal");
    let mut files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|kind| kind == "jsonl")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let time = text.split("\"time\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    fs::write(&file, text.replace(&time, "2999-01-01T00:00:00.000000Z")).unwrap();
    daemon.again(&Launch::default());
    let (code, findings) = examined(&daemon);
    assert_eq!((code, class_of(&findings[0])), (19, ("clock", 19)), "{findings:?}");
    daemon.terminate();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    daemon.again(&Launch::default());
    let (code, findings) = examined(&daemon);
    assert_eq!((code, class_of(&findings[0])), (18, ("history", 18)), "{findings:?}");
}

#[test]
fn strays_are_graver_than_nothing_and_have_a_code() {
    let mut daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    daemon.kill();
    fs::remove_dir_all(daemon.path("run/state/store")).unwrap();
    daemon.again(&Launch::default());
    let (code, findings) = examined(&daemon);
    assert_eq!((code, class_of(&findings[0])), (17, ("strays", 17)), "{findings:?}");
    assert!(findings[0]["fix"].as_str().unwrap().starts_with("bpfman stray remove "), "{findings:?}");
}

#[test]
fn a_dead_daemon_is_examined_from_outside() {
    let mut daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let pid = daemon.pid();
    let doctor = |daemon: &Daemon| {
        let mut command = daemon.cli_command();
        let command = command.env("BPFMAN_RUNTIME_DIR", daemon.path("run")).args(["doctor", "-o", "json"]);
        let outcome = bpfman_tests::Outcome::of(command);
        assert_eq!(outcome.code, 10, "{outcome:?}");
        serde_json::from_str::<Value>(&outcome.stdout).unwrap()
    };
    let socket = daemon.path("moved");
    fs::rename(daemon.socket(), &socket).unwrap();
    let report = doctor(&daemon);
    let text = report["findings"].to_string();
    assert!(text.contains("there is no such socket"), "{text}");
    assert!(text.contains(&format!("process {pid} has the records locked")), "{text}");
    fs::rename(&socket, daemon.socket()).unwrap();
    daemon.bpfman("doctor").success();
    daemon.kill();
    let report = doctor(&daemon);
    let text = report["findings"].to_string();
    assert!(text.contains("no process listens") && !text.contains("has the records locked"), "{text}");
    assert_eq!(report["findings"][0]["class"], "daemon-dead");
    assert!(report["notes"].to_string().contains("1 programs are pinned"), "{report}");
}

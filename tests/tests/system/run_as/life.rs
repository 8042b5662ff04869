//! Life of sessions: kills, signals, and what is left.

use std::io::BufReader;
use std::process::{Child, Stdio};

use bpfman_tests::control_group::Group;
use bpfman_tests::wait::until;
use bpfman_tests::{Launch, compile};
use rustix::process::{Pid, Signal, kill_process};

use super::{ADA, Sessions, sessions};

fn begin(daemon: &Sessions, script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = daemon.session_command(ADA, &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

pub fn line(output: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn calls_go_on_after_kills_of_the_daemon() {
    let mut daemon = sessions();
    let object = daemon.object();
    let script = format!(
        "bpftool prog load {object} /sys/fs/bpf/p || exit 9; echo loaded; for i in $(seq 60); do \
         bpftool map create /sys/fs/bpf/m$i type hash key 4 value 4 entries 8 name m$i || exit 8; sleep 0.02; done; \
         bpftool map | grep -c hash; bpftool prog | grep -c xdp"
    );
    let (mut child, mut output) = begin(&daemon, &script);
    assert_eq!(line(&mut output), "loaded");
    let policy = std::fs::read_to_string(daemon.path("policy.toml")).unwrap();
    for round in 1..=4 {
        daemon.daemon.kill();
        daemon.daemon.again(&Launch { policy: policy.clone(), ..Launch::default() });
        daemon.open_to_users();
        until("the session goes on", || daemon.log().matches("session goes on").count() == round);
    }
    assert_eq!((line(&mut output), line(&mut output)), ("60".to_owned(), "1".to_owned()));
    assert!(child.wait().unwrap().success());
    until("the session is gone", || daemon.path("run/sessions").read_dir().unwrap().count() == 1);
}

pub fn parent(process: &str) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let behind_name = stat.rsplit_once(") ").unwrap().1;
    Pid::from_raw(behind_name.split(' ').nth(1).unwrap().parse().unwrap()).unwrap()
}

#[test]
fn calls_go_on_after_kills_of_receivers() {
    let mut daemon = sessions();
    let object = daemon.object();
    let script = format!(
        "echo $$; bpftool prog load {object} /sys/fs/bpf/p || exit 9; echo loaded; for i in $(seq 60); do \
         bpftool map create /sys/fs/bpf/m$i type hash key 4 value 4 entries 8 name m$i || exit 8; sleep 0.02; done; \
         bpftool map | grep -c hash; bpftool prog | grep -c xdp; exit 7"
    );
    let (mut child, mut output) = begin(&daemon, &script);
    let shell = line(&mut output);
    assert_eq!(line(&mut output), "loaded");
    let policy = std::fs::read_to_string(daemon.path("policy.toml")).unwrap();
    for round in 1..=2 {
        let receiver = parent(&shell);
        kill_process(receiver, Signal::KILL).unwrap();
        until("another process takes over", || parent(&shell) != receiver);
        // The new receiver is not connected to the daemon: restart the daemon to make them connect again.
        daemon.daemon.kill();
        daemon.daemon.again(&Launch { policy: policy.clone(), ..Launch::default() });
        daemon.open_to_users();
        until("the session goes on", || daemon.log().matches("session goes on").count() == round);
    }
    assert_eq!((line(&mut output), line(&mut output)), ("60".to_owned(), "1".to_owned()));
    assert_eq!(child.wait().unwrap().code(), Some(7));
    until("the session is gone", || daemon.path("run/sessions").read_dir().unwrap().count() == 1);
}

/// Number of sessions, of each of which two receivers are killed: `make run-as-kills` sets another.
fn rounds() -> usize {
    std::env::var("KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap())
}

#[test]
fn calls_that_a_killed_receiver_left_are_answered() {
    let daemon = sessions();
    let stop = daemon.path("stop");
    let script = format!(
        "echo $$; i=0; until [ -e {} ]; do i=$((i+1)); \
         bpftool map create /sys/fs/bpf/m$i type hash key 4 value 4 entries 8 name m || exit 8; done; \
         test $(bpftool map | grep -c hash) = $i",
        stop.display()
    );
    for _ in 0..rounds() {
        let (mut child, mut output) = begin(&daemon, &script);
        let shell = line(&mut output);
        for _ in 0..2 {
            std::thread::sleep(std::time::Duration::from_millis(17));
            let receiver = parent(&shell);
            kill_process(receiver, Signal::KILL).unwrap();
            until("another process takes over", || parent(&shell) != receiver);
        }
        std::fs::write(&stop, "").unwrap();
        assert!(child.wait().unwrap().success());
        std::fs::remove_file(&stop).unwrap();
    }
}

#[test]
fn objects_end_with_the_command() {
    let daemon = sessions();
    let object = daemon.object();
    let script = format!("bpftool prog load {object} /sys/fs/bpf/p; bpftool prog show -j; cat");
    let mut command = daemon.session_command(ADA, &["sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let shown = line(&mut BufReader::new(child.stdout.take().unwrap()));
    // The kernel may still be freeing programs that the library loaded as probes.
    let all = serde_json::from_str::<serde_json::Value>(&shown).unwrap();
    let id = all.as_array().unwrap().iter().find(|one| one["name"] == "pass").unwrap()["id"].to_string();
    let exists = || {
        bpfman_tests::Outcome::of(std::process::Command::new("bpftool").args(["prog", "show", "id", &id]))
            .code
            == 0
    };
    assert!(exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    until("the program is gone", || !exists());
}

#[test]
fn attachments_without_a_link_end_with_the_command() {
    let daemon = sessions();
    let group = Group::new("run-as-left");
    let object = daemon.readable(&compile::object("allow")).display().to_string();
    let at = group.folder.display().to_string();
    let show = || bpfman_tests::command::run(&["bpftool", "cgroup", "show", &at]);
    let script = format!(
        "bpftool prog load {object} /sys/fs/bpf/p && \
         bpftool cgroup attach {at} egress pinned /sys/fs/bpf/p && bpftool cgroup show {at}"
    );
    let shown = daemon.session_shell(ADA, &script);
    assert!(shown.stdout.contains("egress"), "{shown:?}");
    until("nothing is attached", || !show().contains("egress"));
}

#[test]
fn signals_reach_the_command_and_the_clients_end_hangs_it_up() {
    let daemon = sessions();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let script = "for s in INT TERM HUP; do trap \"echo $s; exit 3\" $s; done; echo ready; while :; do sleep 0.05; done";
        let (mut child, mut output) = begin(&daemon, script);
        assert_eq!(line(&mut output), "ready");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let name = format!("{signal:?}");
        let said = line(&mut output);
        assert!(!said.is_empty() && name.contains(&said), "{said} {name}");
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }
    let (mut child, mut output) = begin(&daemon, "echo $$; exec sleep 1000");
    let process: i32 = line(&mut output).parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    until("the command is hung up", || !std::path::Path::new(&format!("/proc/{process}")).exists());
}

#[test]
fn session_is_in_the_cgroup_of_its_client() {
    let daemon = sessions();
    let group = Group::new("run-as-place");
    let seen = group.inside(|| daemon.session(ADA, &["cat", "/proc/self/cgroup"])).success();
    assert!(seen.lines().any(|line| line == format!("0::{}", group.path)), "{seen}");
}

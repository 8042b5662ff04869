//! Life of sessions: kills, signals, and what is left.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::time::Duration;

use bpfman_tests::control_group::Group;
use bpfman_tests::wait::{until, within};
use bpfman_tests::{Launch, Network, compile};
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

/// Number of sessions, with two kills each: `make run-as-kills` sets another.
fn rounds() -> usize {
    std::env::var("KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap())
}

#[test]
fn kills_of_receivers_and_daemons_lose_nothing() {
    let (mut daemon, network) = (sessions(), Network::new());
    let stop = daemon.path("stop");
    let stranger = daemon.readable(&compile::executable("radar_stranger")).display().to_string();
    // One process holds a program and its link. Others make maps until the file appears.
    let script = format!(
        "mkfifo /run/end; {stranger} load link 1 wait < /run/end > /run/made & exec 3> /run/end; \
         until grep -q '^link [1-9]' /run/made; do sleep 0.01; done; echo $$; i=0; \
         until [ -e {} ]; do i=$((i+1)); \
         bpftool map create /sys/fs/bpf/m$i type hash key 4 value 4 entries 8 name m || exit 8; done; \
         [ $(bpftool map | grep -c hash) = $i ] || exit 9; [ $(bpftool prog | grep -c 'name stranger') = 1 ] || exit 10; \
         [ $(bpftool link | grep -c xdp) = 1 ] || exit 11",
        stop.display()
    );
    let policy = std::fs::read_to_string(daemon.path("policy.toml")).unwrap();
    for round in 0..rounds() {
        let mut command = daemon.session_command(ADA, &["sh", "-c", &script]);
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = network.near.inside(move || command.spawn().unwrap());
        let shell = line(&mut BufReader::new(child.stdout.take().unwrap()));
        for kill in 0..2 {
            // All pairs of a receiver, the daemon, and both, at any point of a call.
            std::thread::sleep(Duration::from_millis(3 + (round * 7 + kill * 11) as u64 % 29));
            let victim = (round / 3_usize.pow(kill as u32)) % 3;
            if victim > 0 {
                daemon.daemon.kill();
            }
            if victim != 1 {
                let receiver = parent(&shell);
                kill_process(receiver, Signal::KILL).unwrap();
                until("another process takes over", || parent(&shell) != receiver);
            }
            if victim > 0 {
                daemon.daemon.again(&Launch { policy: policy.clone(), ..Launch::default() });
                daemon.open_to_users();
            }
        }
        std::fs::write(&stop, "").unwrap();
        let status = within("the session ends", || child.wait()).unwrap();
        assert!(status.success(), "{round}: {status}");
        std::fs::remove_file(&stop).unwrap();
    }
}

#[test]
fn service_ends_with_the_third_receiver() {
    let daemon = sessions();
    let script = "echo $$; until ! bpftool map create /sys/fs/bpf/m$((i+=1)) type hash key 4 value 4 entries 8 name m 2> /run/why; \
                  do sleep 0.01; done; grep -q 'not implemented' /run/why && echo ended; exit 7";
    let mut command = daemon.session_command(ADA, &["bash", "-c", script]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let shell = line(&mut output);
    for _ in 0..3 {
        let receiver = parent(&shell);
        kill_process(receiver, Signal::KILL).unwrap();
        until("its child has another parent", || parent(&shell) != receiver);
    }
    assert_eq!(line(&mut output), "ended");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("the receiver of the session has ended"), "{said}");
    until("no session is left", || daemon.path("run/sessions").read_dir().unwrap().count() == 1);
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

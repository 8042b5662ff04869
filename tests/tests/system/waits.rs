//! `bpfman wait`: scripts wait for a state in the kernel.

use std::process::{Child, Stdio};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::wait::{until, within};
use bpfman_tests::{Daemon, Launch, Network};

use crate::equipment::{Program, detach, link, unload};

const LONG: &str = "--timeout 300s";

struct Waiting(Child);

impl Waiting {
    fn start(daemon: &Daemon, line: &str) -> Self {
        let mut command = daemon.cli_command();
        command.arg("wait").args(line.split_whitespace()).args(LONG.split_whitespace()).arg("-q");
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn poll_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    fn ids(self) -> String {
        let output = within("`bpfman wait` to end", || self.0.wait_with_output()).unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn until_they_wait(daemon: &Daemon, waits: &mut [&mut Waiting]) {
    let tasks = format!("/proc/{}/task", daemon.pid());
    let is_watch = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "watch-network")
    };
    until("the daemon tells them of changes", || {
        let over = waits.iter_mut().any(|wait| wait.poll_ended());
        assert!(!over, "one ended before what it waits for was so");
        std::fs::read_dir(&tasks).unwrap().flatten().filter(is_watch).count() == waits.len()
    });
}

#[test]
fn a_link_is_attached_when_it_runs_and_not_when_it_is_recorded() {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let (network, wire) = (Network::new(), daemon.wire());
    let far = &network.far;
    let add = || far.ip(&["link", "add", "pod1", "type", "veth", "peer", "name", "peer1"]);
    add();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let id = wire.attach(attach(program, xdp(&far.path(), "pod1", 50, &[]))).unwrap().link_id;
    let at_once = |line: &str| daemon.bpfman(&format!("wait {line} --timeout 0s"));
    for line in [format!("link {id} --for attached"), format!("--for attached program {program}")] {
        assert_eq!(at_once(&line).success(), "");
    }
    far.ip(&["link", "del", "pod1"]);
    until("it waits", || link(&wire, id).state.starts_with("waiting: "));
    at_once(&format!("link {id} --for attached"))
        .fails(20, &["is not attached after 0s: link", "waiting: ", "hint: "]);
    let waits = daemon.bpfman(&format!("explain xdp:pod1@{}", far.path().display())).success();
    assert!(waits.contains(&format!("link {id} waits for it")), "{waits}");
    let explain =
        |member: &str| daemon.bpfman(&format!("explain xdp:pod1@{} {member}", far.path().display()));
    for member in ["xdp_member", &id.to_string()] {
        assert_eq!(explain(member).success(), waits);
    }
    explain("xdp_other").fails(5, &["xdp_other", &format!("xdp_member (link {id})")]);
    let nothing = daemon.bpfman(&format!("explain xdp:pod2@{}", far.path().display()));
    nothing.fails(6, &["pod2"]);
    at_once("program xdp_member --for attached").fails(20, &[&format!("link {id}: waiting: ")]);
    at_once(&format!("link {id} --for gone")).fails(20, &["it is there"]);
    let mut waits = [
        Waiting::start(&daemon, &format!("link {id} --for attached")),
        Waiting::start(&daemon, "program xdp_member --for attached"),
    ];
    until_they_wait(&daemon, &mut waits.iter_mut().collect::<Vec<_>>());
    add();
    let ids = waits.map(Waiting::ids);
    assert_eq!(ids, [id.to_string(), program.to_string()]);
    assert_eq!(link(&wire, id).state, "ok");
}

#[test]
fn wait_follows_load_detach_and_unload() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let mut loaded = Waiting::start(&daemon, "--for loaded program xdp_member");
    until_they_wait(&daemon, &mut [&mut loaded]);
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    assert_eq!(loaded.ids(), program.to_string());
    let far = network.far.path();
    let id =
        wire.attach(attach(program, xdp(&far, bpfman_tests::network::INTERFACE, 7, &[]))).unwrap().link_id;
    let detached = Waiting::start(&daemon, &format!("link {id} --for detached"));
    let without_links = Waiting::start(&daemon, &format!("program {program} --for detached"));
    let unloaded = Waiting::start(&daemon, &format!("program {program} --for unloaded"));
    detach(&wire, id);
    assert_eq!((detached.ids(), without_links.ids()), (String::new(), program.to_string()));
    unload(&wire, program);
    assert_eq!(unloaded.ids(), "");
    let json = daemon.bpfman(&format!("wait link {id} --for gone -o json")).json();
    let expected = serde_json::json!(
        {"kind": "link", "target": id.to_string(), "condition": "gone", "program_ids": [], "link_ids": []}
    );
    assert_eq!(json, expected);
    // Ids are not reused, so that waiting for a removed object fails at once.
    daemon.bpfman(&format!("wait link {id} --for attached {LONG}")).fails(5, &["does not exist"]);
    daemon.bpfman(&format!("wait program {program} --for loaded {LONG}")).fails(5, &["does not exist"]);
    daemon
        .bpfman("wait program x\u{202e}y --for loaded --timeout 1s")
        .fails(20, &["bpfman has no such program"]);
    daemon.bpfman("wait link name --for attached").fails(2, &["links have no names"]);
    daemon.bpfman("wait link 7 --for loaded").fails(2, &["attached, detached or gone"]);
}

#[test]
fn waiting_continues_over_a_restart_and_ends_without_a_daemon() {
    let mut daemon = Daemon::start();
    let waiting = Waiting::start(&daemon, "program xdp_member --for loaded");
    daemon.kill();
    daemon.bpfman("wait program xdp_member --for loaded --timeout 1s").fails(3, &["no daemon answers at"]);
    daemon.again(&Launch::default());
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    assert_eq!(waiting.ids(), program.to_string());
}

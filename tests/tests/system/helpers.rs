//! The processes that speak to registries and read images: what they have, and what is left when they turn against the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bpfman_tests::registry::Registry;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch};

use crate::images::publish;

/// The user of the processes, unless root says otherwise.
const USER: &str = "60919";
/// Anything is let in: the signatures are not what is tried here.
const POLICY: &str = "mode = \"off\"\n";

/// A process for images.
struct Process {
    pid: u32,
    what: String,
}

fn children(pid: u32) -> Vec<Process> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_thread =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let pids: Vec<u32> = threads
        .map(of_thread)
        .flat_map(|text| text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let process = |pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> =
            words.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into()).collect();
        Some(Process { pid, what: words.get(2)?.clone() })
    };
    pids.into_iter().filter_map(process).collect()
}

/// The starter, and those that it started.
fn processes(daemon: &Daemon) -> Vec<Process> {
    let starters = children(daemon.pid());
    let started: Vec<Process> = starters.iter().flat_map(|starter| children(starter.pid)).collect();
    starters.into_iter().chain(started).collect()
}

fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn launch(act: &str) -> Launch {
    let environment = match act {
        "" => Vec::new(),
        act => vec![("BPFMAN_TEST_HOSTILE_HELPER".to_owned(), act.to_owned())],
    };
    Launch { policy: POLICY.to_owned(), environment, ..Launch::default() }
}

#[test]
fn they_have_a_user_of_their_own_and_nothing_else() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    // The load's own are gone, and one verifier waits for the next.
    let found = processes(&daemon);
    let names: Vec<&str> = found.iter().map(|process| process.what.as_str()).collect();
    assert_eq!(names, ["starter", "verifier"]);
    for process in &found {
        let status = status(process.pid);
        let field = |name: &str| status[name].as_str();
        assert_eq!(field("Uid"), [USER; 4].join(" "), "{}", process.what);
        assert_eq!(field("Gid"), [USER; 4].join(" "), "{}", process.what);
        assert_eq!(field("Groups"), "", "{}", process.what);
        for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", process.what);
        }
        assert_eq!(field("NoNewPrivs"), "1", "{}", process.what);
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid)).unwrap();
        assert_eq!(score.trim(), "800", "{}", process.what);
    }
    assert_eq!(status(found[1].pid)["Seccomp"], "2");
    assert_eq!(
        daemon.bpfman("version -o json").json()["daemon"]["cage"]["helpers"],
        format!("on, user {USER}")
    );
    // What is open in one is its socket, the log, and nothing of the daemon's.
    let open = fs::read_dir(format!("/proc/{}/fd", found[1].pid)).unwrap().count();
    assert!(open <= 4, "{open} descriptors");
}

/// Each act is tried by one that is held as always, once it was asked for something.
#[test]
fn a_hostile_one_reaches_nothing() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let state = daemon.path("run").display().to_string();
    let secret: PathBuf = daemon.path("secret");
    // Open to everybody, so that it is not its mode that keeps it.
    fs::write(&secret, "secret").unwrap();
    let socket = daemon.path("bpfman.sock").display().to_string();
    let address = registry.image("").split('/').next().unwrap().to_owned();
    let both = [
        format!("read:{}", secret.display()),
        format!("list:{state}"),
        "write:/tmp/bpfman-hostile".to_owned(),
        "write:/dev/null".to_owned(),
        "read:/proc/1/environ".to_owned(),
        format!("connect:{socket}"),
        "execute:/bin/true".to_owned(),
        "kill:1".to_owned(),
    ];
    let of_fetcher = both.iter().map(|act| format!("fetcher:{act}"));
    let more = ["verifier:read:/etc/hosts".to_owned(), format!("verifier:dial:{address}")];
    let of_verifier = both.iter().map(|act| format!("verifier:{act}")).chain(more);
    let mut number = 0;
    for act in of_fetcher.chain(of_verifier) {
        number += 1;
        daemon.again(&launch(&act));
        let name = registry.image(&format!("chain:{number}"));
        publish(&daemon, &name, "chain");
        let before = daemon.state();
        let load = format!("load image -i {name} --programs xdp:xdp_member");
        daemon.bpfman(&load).fails(1, &["did not do its work", "hint: "]);
        let log = daemon.log();
        assert!(log.contains(&format!("hostile: trying {act}")), "{act}: {log}");
        assert!(!log.contains(&format!("hostile: did {act}")), "{act}: {log}");
        assert_eq!(daemon.state(), before, "{act}");
        assert_eq!(daemon.bpfman("image list -o json").json(), serde_json::json!([]), "{act}");
        // The daemon goes on.
        daemon.bpfman("list programs").success();
        daemon.kill();
    }
    assert!(!PathBuf::from("/tmp/bpfman-hostile").exists());
}

/// What makes the test above able to fail: where it is a process's work, it can.
#[test]
fn a_fetcher_reaches_registries_and_what_names_resolve_to() {
    let registry = Registry::start();
    let mut daemon = Daemon::prepare();
    let address = registry.image("").split('/').next().unwrap().to_owned();
    for act in ["read:/etc/hosts".to_owned(), format!("dial:{address}")] {
        daemon.again(&launch(&format!("fetcher:{act}")));
        daemon
            .bpfman(&format!("image pull -i {}", registry.image("none:1")))
            .fails(1, &["did not do its work"]);
        let did = format!("hostile: did fetcher:{act}");
        until(&did, || daemon.log().contains(&did));
        daemon.kill();
    }
}

#[test]
fn they_end_with_the_daemon() {
    let registry = Registry::start();
    let mut daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    let pids: Vec<u32> = processes(&daemon).iter().map(|process| process.pid).collect();
    assert_eq!(pids.len(), 2);
    daemon.kill();
    let are_gone = || pids.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}/fd")).exists());
    until("they are gone", are_gone);
}

/// As `systemctl kill` does, and a terminal that is closed.
#[test]
fn signals_that_are_meant_for_the_daemon_do_not_end_the_starter() {
    let registry = Registry::start();
    let daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let starter = processes(&daemon).remove(0);
    let pid = rustix::process::Pid::from_raw(starter.pid.try_into().unwrap()).unwrap();
    use rustix::process::Signal;
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        rustix::process::kill_process(pid, signal).unwrap();
        daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    }
    assert_eq!(processes(&daemon)[0].pid, starter.pid);
}

/// The daemon can start no other: that is for its next start. Everything but images goes on.
#[test]
fn without_the_starter_images_are_refused_and_all_else_works() {
    let registry = Registry::start();
    let mut daemon = Daemon::start_with(&launch(""));
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    let load = format!("load image -i {name} --programs xdp:xdp_member");
    let starter = processes(&daemon).remove(0);
    assert_eq!(starter.what, "starter");
    let pid = rustix::process::Pid::from_raw(starter.pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    daemon.bpfman(&load).fails(1, &["restart bpfmand"]);
    daemon.bpfman("list programs").success();
    daemon.kill();
    daemon.again(&launch(""));
    daemon.bpfman(&load).success();
}

#[test]
fn root_can_do_without_them_and_is_told_so() {
    let registry = Registry::start();
    let config = "[cage]\nhelpers = \"off\"\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..launch("") });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    assert!(processes(&daemon).is_empty());
    let notes = daemon.bpfman("doctor -o json").json()["notes"].take();
    assert_eq!(notes[0]["subject"], "cage: helpers", "{notes}");
}

/// Started by somebody who may not change users, they lose everything else.
#[test]
fn without_the_right_to_change_users_they_are_root_without_capabilities() {
    let registry = Registry::start();
    let wrapper = ["capsh", "--drop=cap_setuid,cap_setgid", "--", "-c", "exec \"$0\" \"$@\""];
    let daemon = Daemon::start_with(&Launch { wrapper: wrapper.map(str::to_owned).to_vec(), ..launch("") });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    let found = processes(&daemon);
    assert_eq!(found.len(), 2);
    for process in found {
        let status = status(process.pid);
        assert_eq!(
            [&status["Uid"], &status["CapEff"], &status["CapPrm"]],
            ["0 0 0 0", "0000000000000000", "0000000000000000"]
        );
    }
    let notes = daemon.bpfman("doctor -o json").json()["notes"].take();
    assert!(notes.to_string().contains("CAP_SETUID"), "{notes}");
}

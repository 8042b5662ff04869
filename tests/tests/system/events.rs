//! `bpfman events`: the audit log as a stream, for readers that reconnect, do not read, or have no permission.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use bpfman_proto::v1::{self, BpfmanProgramType as Type};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Wire};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::equipment::{Program, detach, unload};
use crate::limits::memory;

const ADA: u32 = 64_311;
const EVE: u32 = 64_312;

struct Follower {
    process: Child,
    told: Arc<Mutex<Vec<Value>>>,
    said: Arc<Mutex<String>>,
}

pub fn follow(daemon: &Daemon, line: &str, mut told: impl FnMut(Value) + Send + 'static) -> Child {
    let mut command = daemon.cli_command();
    command.arg("events").args(line.split_whitespace()).args(["--follow", "-o", "json"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines {
            told(serde_json::from_str(&line.unwrap()).unwrap());
        }
    });
    process
}

impl Follower {
    fn start(daemon: &Daemon, line: &str) -> Self {
        let (told, said) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<String>>::default());
        let into = Arc::clone(&told);
        let mut process = follow(daemon, line, move |event| into.lock().unwrap().push(event));
        let (mut words, into) = (process.stderr.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = words.read(&mut piece) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Self { process, told, said }
    }

    fn entries(&self) -> Vec<Value> {
        self.told.lock().unwrap().iter().filter(|event| event["event"] == "entry").cloned().collect()
    }

    fn verbs(&self) -> Vec<String> {
        self.entries().iter().map(|entry| entry["verb"].as_str().unwrap().to_owned()).collect()
    }

    fn numbers(&self) -> Vec<u64> {
        let told = self.told.lock().unwrap();
        let numbers = told.iter().flat_map(|event| match event["event"].as_str().unwrap() {
            "missed" => event["first"].as_u64().unwrap()..=event["last"].as_u64().unwrap(),
            _ => event["number"].as_u64().unwrap()..=event["number"].as_u64().unwrap(),
        });
        numbers.collect()
    }

    fn has_missed(&self) -> bool {
        self.told.lock().unwrap().iter().any(|event| event["event"] == "missed")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the follower said ---\n{}", self.said.lock().unwrap());
        }
    }
}

pub fn refused(wire: &Wire, id: u32) {
    wire.unload(v1::UnloadRequest { id }).unwrap_err();
}

fn ended(process: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the client ended", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn load(daemon: &Daemon) -> u32 {
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id
}

#[test]
fn a_change_is_told_to_who_follows_and_asks_for_it() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let all = Follower::start(&daemon, "--after 0");
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    until("the load is told", || all.verbs() == ["Load"]);
    let far = network.far.path();
    let link = wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap().link_id;
    let of_link = Follower::start(&daemon, &format!("{link} --after 0 --verb detach,attach --result done"));
    refused(&wire, 999_999);
    detach(&wire, link);
    unload(&wire, program);
    until("all is told", || all.verbs() == ["Load", "Attach", "Unload", "Detach", "Unload"]);
    until("what is asked for is told", || of_link.verbs() == ["Attach", "Detach"]);
    assert_eq!((all.numbers(), of_link.numbers()), (vec![1, 2, 3, 4, 5], vec![2, 4]));
    let hook = format!("xdp:{INTERFACE}@{}", far.display());
    assert_eq!(all.entries()[1]["hooks"], serde_json::json!([hook]));
    assert_eq!(daemon.bpfman("events -q").success(), "1\n2\n3\n4\n5\n");
    assert_eq!(daemon.bpfman("events --limit 2 -q").success(), "4\n5\n");
    assert_eq!(daemon.bpfman("events --after 3 --by root --since 1h -q").success(), "4\n5\n");
    let table = daemon.bpfman(&format!("events {hook}")).success();
    assert_eq!(table.lines().count(), 3, "{table}");
    daemon.bpfman("events --after 77").fails(7, &["the journal ends with number 5", "hint: ask for"]);
}

#[test]
fn a_restart_of_the_daemon_loses_no_entry_and_repeats_none() {
    let mut daemon = Daemon::start();
    let follower = Follower::start(&daemon, "--after 0");
    load(&daemon);
    until("the first is told", || follower.entries().len() == 1);
    daemon.kill();
    until("the client says so", || follower.said.lock().unwrap().contains("the daemon has gone"));
    daemon.again(&Launch::default());
    load(&daemon);
    daemon.terminate();
    daemon.again(&Launch::default());
    load(&daemon);
    let entries = || daemon.bpfman("events -q").success().lines().count();
    until("the last is told", || {
        follower.verbs().iter().filter(|verb| *verb == "Load").count() == 3
            && follower.entries().len() == entries()
    });
    assert_eq!(follower.numbers(), (1..=entries() as u64).collect::<Vec<_>>());
    assert!(follower.said.lock().unwrap().contains("the daemon is back"));
}

#[test]
fn readers_that_read_nothing_delay_no_change_and_learn_of_gaps() {
    const MAX_GROWTH: usize = 32 << 20;
    /// Number of silent streams: together with the other one, the maximum for one user.
    const SILENT: usize = 15;
    let config = "[journal]\nmib = 1\nentries = 1000\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let wire = daemon.wire();
    let silent: Vec<_> = (0..SILENT).map(|_| Follower::start(&daemon, "--after 0")).collect();
    let other = Follower::start(&daemon, "--after 0");
    refused(&wire, 1_000_000);
    until("all follow", || silent.iter().chain([&other]).all(|one| one.entries().len() == 1));
    silent.iter().for_each(|one| one.signal(Signal::STOP));
    let before = memory(&daemon, "VmRSS");
    for id in 1..3000 {
        refused(&wire, 1_000_000 + id);
    }
    until("the other one has all", || other.numbers().last() == Some(&3000));
    assert_eq!(other.numbers(), (1..=3000).collect::<Vec<_>>());
    let held = memory(&daemon, "VmHWM").saturating_sub(before);
    eprintln!("{SILENT} readers that do not read made the daemon hold {} KiB", held >> 10);
    assert!(held < MAX_GROWTH, "{SILENT} readers that do not read made the daemon hold {} MiB", held >> 20);
    silent.iter().for_each(|one| one.signal(Signal::CONT));
    for one in &silent {
        until("a silent one has all that is there", || one.numbers().last() == Some(&3000));
        assert!(one.has_missed());
        assert_eq!(one.numbers(), (1..=3000).collect::<Vec<_>>(), "each number once, or told to be missed");
    }
}

#[test]
fn users_follow_their_own_events_and_refused_ones_learn_why() {
    let policy = format!(
        "[access]\nsocket_group = \"nothing\"\n[files]\nusers = [0, {ADA}]\n\
         [[grants]]\nname = \"network\"\nusers = [{ADA}]\nallow = [\"read\", \"load\"]\n"
    );
    let daemon = crate::grants::daemon(policy);
    let roots = load(&daemon);
    let own = crate::grants::load_as(&daemon, ADA);
    daemon.bpfman_as(EVE, &format!("unload {own}")).fails(4, &["may not"]);
    daemon.bpfman_as(EVE, &format!("unload {roots}")).fails(4, &["may not"]);
    let told = daemon.bpfman_as(ADA, "events -o json").success();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| told.iter().map(|event| event[name].clone()).collect::<Vec<_>>();
    assert_eq!((of("event"), of("number")), (vec!["entry".into(), "entry".into()], vec![2.into(), 3.into()]));
    assert!(told[0]["pid"].is_number() && told[1]["pid"].is_null(), "{told:?}");
    for line in ["events", "events --follow", "wait --for gone link 9"] {
        daemon.bpfman_as(EVE, line).fails(4, &["may not read", "hint:"]);
    }
    assert_eq!(daemon.bpfman(&format!("events -q --by {EVE} --result denied")).success().lines().count(), 5);
}

#[test]
fn a_follower_ends_when_nobody_reads_it_and_at_a_signal() {
    let daemon = Daemon::start();
    let start = || {
        let mut command = daemon.cli_command();
        command.args(["events", "--follow", "--after", "0"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut process = start();
    drop(process.stdout.take());
    assert_eq!(ended(&mut process).code(), Some(0));
    let mut process = start();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("Number"));
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    assert_eq!(ended(&mut process).code(), None, "the signal itself ends it");
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
    for _ in 0..20 {
        let mut command: Command = daemon.cli_command();
        assert!(command.args(["events", "-q"]).output().unwrap().status.success());
    }
}

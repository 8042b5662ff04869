//! The radar: eBPF activity of other processes is recorded with its actors, also when there is too much of it.

mod losses;
mod observed;
mod switching;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use bpfman_tests::network::Namespace;
use bpfman_tests::wait::{until, within};
use bpfman_tests::{Daemon, Launch, compile};
use serde_json::Value;

pub const LOADER: u32 = 64_323;

pub struct Stranger {
    process: Child,
    stdin: Option<ChildStdin>,
    did: Vec<(String, i64)>,
}

fn binary() -> PathBuf {
    compile::executable("radar_stranger")
}

fn as_user(user: u32, mut setpriv: Command, capabilities: &str) -> Command {
    setpriv.args(["--reuid", &user.to_string(), "--clear-groups", "--inh-caps", capabilities]);
    setpriv.args(["--ambient-caps", capabilities]).arg(binary());
    setpriv
}

impl Stranger {
    fn stays(mut command: Command, words: &[&str]) -> Self {
        command.args(words).arg("wait").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told = words.iter().filter(|word| {
            [
                "load",
                "socket",
                "map",
                "link",
                "tcx",
                "tcx-off",
                "open-link",
                "detach",
                "pin",
                "flood",
                "refused",
            ]
            .contains(word)
        });
        let did = lines.by_ref().map_while(Result::ok).take(told.count()).map(|line| {
            let (name, number) = line.split_once(' ').unwrap();
            (name.to_owned(), number.parse().unwrap())
        });
        let did = within(&format!("the stranger to do {words:?}"), || did.collect());
        Self { stdin: process.stdin.take(), process, did }
    }

    pub fn new(words: &[&str]) -> Self {
        Self::stays(Command::new(binary()), words)
    }

    /// Runs as a user with permission to load programs only: each user has its own limit of audit entries.
    pub fn of_user(user: u32, words: &[&str]) -> Self {
        Self::stays(as_user(user, Command::new("setpriv"), "+bpf,+net_admin"), words)
    }

    /// Loads a program and attaches it to an interface of a namespace by a link.
    pub fn at_interface(user: u32, namespace: &Namespace, interface: &str) -> Self {
        let shown = namespace.ip(&["-o", "link", "show", "dev", interface]);
        let (index, _) = shown.split_once(':').unwrap();
        let command = as_user(user, namespace.command("setpriv"), "+bpf,+net_admin");
        Self::stays(command, &["load", "link", index])
    }

    pub fn made(&self, what: &str) -> u64 {
        let (_, number) = self.did.iter().find(|(name, _)| name == what).unwrap();
        u64::try_from(*number).unwrap_or_else(|_| panic!("{what} failed: {number}"))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn end(mut self) {
        drop(self.stdin.take());
        assert!(within("the stranger to end", || self.process.wait()).unwrap().success());
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn seen(daemon: &Daemon) -> Vec<Value> {
    let told = daemon.bpfman("events --by radar -o json").success();
    let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == "entry").collect()
}

fn of_process(daemon: &Daemon, pid: u32) -> Vec<Value> {
    seen(daemon).into_iter().filter(|entry| entry["pid"] == pid).collect()
}

fn entry(daemon: &Daemon, pid: u32, verb: &str) -> Value {
    entry_about(daemon, pid, verb, "")
}

fn entry_about(daemon: &Daemon, pid: u32, verb: &str, what: &str) -> Value {
    let mut found = None;
    until(&format!("{verb} of process {pid} is told about {what:?}"), || {
        let is_it = |entry: &Value| entry["verb"] == verb && entry["object"].as_str().unwrap().contains(what);
        found = of_process(daemon, pid).into_iter().find(is_it);
        found.is_some()
    });
    found.unwrap()
}

fn object() -> PathBuf {
    compile::example("radar")
}

fn status(daemon: &Daemon) -> Value {
    daemon.bpfman("radar -o json").json()["radar"].clone()
}

pub fn launch() -> Launch {
    Launch { config: format!("[radar]\nfile = \"{}\"\n", object().display()), ..Launch::default() }
}

pub fn wait_until_on(daemon: &Daemon) {
    until("the radar sees", || {
        ["trampolines", "tracepoints"].contains(&status(daemon)["source"].as_str().unwrap())
    });
}

fn daemon() -> Daemon {
    let daemon = Daemon::start_with(&launch());
    wait_until_on(&daemon);
    daemon
}

fn programs(daemon: &Daemon) -> BTreeSet<String> {
    let listed = daemon.bpfman("list programs -q").success();
    listed.lines().map(str::to_owned).collect()
}

fn counts(entries: &[Value], verb: &str) -> u64 {
    let of_verb = entries.iter().filter(|entry| entry["verb"] == verb);
    of_verb.map(|entry| entry["count"].as_u64().unwrap()).sum()
}

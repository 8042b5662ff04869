//! `bpfman map watch` and `bpfman map pin`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::map_entries::{MapBench, READER, WRITER};

struct Watching {
    process: Child,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Watching {
    fn start(daemon: &Daemon, words: &[&str]) -> Self {
        let mut command: Command = daemon.cli_command();
        command.args(["map", "watch"]).args(words).args(["-o", "json"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let told = Arc::<Mutex<Vec<Value>>>::default();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let into = Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        let watching = Self { process, told };
        watching.wait_for("watching", |_| true);
        watching
    }

    fn wait_for(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until(&format!("the client tells of {kind}"), || {
            let told = self.told.lock().unwrap();
            found = told.iter().find(|event| event["event"] == kind && is_it(event)).cloned();
            found.is_some()
        });
        found.unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn changes_of_entries_are_watched_until_a_signal() {
    let bench = MapBench::new();
    bench.set("recent", &["1", "5"]);
    let mut watching = Watching::start(&bench.daemon, &[&bench.name("recent")]);
    bench.set("recent", &["1", "8"]);
    let changed = watching.wait_for("changed", |event| event["value"] == 8);
    assert_eq!((&changed["key"], &changed["step"]), (&json!(1), &json!(3)));
    bench.map("delete", "recent", &["1"]).success();
    watching.wait_for("changed", |event| event["value"].is_null());
    kill_process(Pid::from_child(&watching.process), Signal::INT).unwrap();
    assert_eq!(watching.process.wait().unwrap().code(), Some(0));
    watching.wait_for("watch_ended", |event| event["why"] == "interrupted");
    let program = bench.program.to_string();
    bench.daemon.cli(&["map", "watch", &program, "slots", "--for", "1s"]).success();
}

#[test]
fn records_of_a_ring_are_watched_by_their_type() {
    let (bench, network) = (MapBench::new(), Network::new());
    let traffic = Traffic::new(&network);
    let (program, far) = (bench.program.to_string(), network.far.path().display().to_string());
    let attach = format!("attach {program} xdp -i {INTERFACE} -p 50 -n {far}");
    bench.daemon.bpfman(&attach).success();
    let watching = Watching::start(&bench.daemon, &[&program, "events"]);
    assert_eq!(traffic.send(1), 1);
    let record = watching.wait_for("record", |_| true);
    assert_eq!(record["value"], json!({"number": 7, "name": "packet"}));
    let refused = bench.map("watch", "events", &["--record", "struct nothing"]);
    refused.fails(6, &["have no such type", "event"]);
    bench.map("watch", "line", &[]).fails(6, &["cannot be watched"]);
    bench.map_as(READER, "watch", "events", &["--for", "1s"]).fails(4, &["may not"]);
}

#[test]
fn a_map_is_pinned_by_who_may_write_it_and_its_folder() {
    let bench = MapBench::new();
    let folder = bench.daemon.path("pins");
    fs::create_dir(&folder).unwrap();
    let outside = folder.join("map");
    bench.map("pin", "recent", &[outside.to_str().unwrap()]).fails(6, &["is no bpffs"]);
    let inside = bench.daemon.fs().join("mine");
    bench.map("pin", "recent", &[inside.to_str().unwrap()]).fails(6, &["the daemon's own folder"]);
    run(&["mount", "-t", "bpf", "bpf", folder.to_str().unwrap()]);
    let pinned = bench.map("pin", "recent", &[outside.to_str().unwrap(), "-o", "json"]);
    let again = bench.map("pin", "recent", &[outside.to_str().unwrap()]);
    let denied = bench.map_as(READER, "pin", "recent", &[folder.join("other").to_str().unwrap()]);
    // The client pins with the user's own permissions: no capability, and a folder writable for everyone.
    let own = bench.map_as(WRITER, "pin", "recent", &[folder.join("own").to_str().unwrap()]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let foreign = bench.map_as(WRITER, "pin", "recent", &[folder.join("other").to_str().unwrap()]);
    let id = bench.listed("recent")["id"].to_string();
    let shown = run(&["bpftool", "map", "show", "pinned", outside.to_str().unwrap()]);
    run(&["umount", folder.to_str().unwrap()]);
    assert_eq!(pinned.json()["map_id"].to_string(), id);
    assert!(shown.starts_with(&format!("{id}: ")), "{shown}");
    again.fails(7, &["exists"]);
    denied.fails(4, &["may not"]);
    own.success();
    // The daemon permits access to the map, but the folder is root's.
    foreign.fails(4, &["other"]);
}

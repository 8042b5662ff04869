//! `bpfman run`: temporary programs that leave nothing behind.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

struct Run {
    process: Child,
    told: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Run {
    fn start(daemon: &Daemon, words: &[&str]) -> Self {
        let mut command = daemon.cli_command();
        command.arg("run").args(words).args(["-o", "json"]);
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(process.stdout.take().unwrap()), Arc::clone(&told));
        let reader = std::thread::spawn(move || {
            for line in lines.lines() {
                let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
                into.lock().unwrap().push(event);
            }
        });
        Self { process, told, reader: Some(reader) }
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        self.told.lock().unwrap().iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    fn wait_for(&mut self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until(&format!("the client tells of {kind}"), || {
            let ended = self.process.try_wait().unwrap();
            found = self.events(kind).into_iter().find(|event| is_it(event));
            assert!(
                found.is_some() || ended.is_none(),
                "it ended: {ended:?}: {:?}: {:?}",
                self.told.lock().unwrap(),
                std::io::read_to_string(self.process.stderr.take().unwrap())
            );
            found.is_some()
        });
        found.unwrap()
    }

    fn running(&mut self) {
        self.wait_for("running", |_| true);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let status = self.process.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn far(network: &Network) -> String {
    format!("xdp:{INTERFACE}@{}", network.far.path().display())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_empty(daemon: &Daemon) -> bool {
    daemon.state().programs.is_empty() && daemon.state().links.is_empty() && daemon.state().pins.is_empty()
}

fn until_empty(daemon: &Daemon) {
    until("nothing is left", || is_empty(daemon));
}

fn has_print_buffers(test: &str) -> bool {
    let has = Path::new("/sys/kernel/tracing/instances").is_dir()
        && Path::new("/sys/kernel/tracing/events/bpf_trace/bpf_trace_printk").is_dir();
    if !has {
        eprintln!("SKIPPED(instances of tracefs): {test}");
    }
    has
}

fn print_buffers(pid: u32) -> HashSet<String> {
    let names = fs::read_dir("/sys/kernel/tracing/instances").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("bpfman-prints-{pid}-"))).collect()
}

#[test]
fn records_are_printed_by_type_and_nothing_stays() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let object = compile::object("run");
    let (hook, object) = (far(&network), text(&object));
    let words =
        [object, "tell", "--attach", &hook, "--record", "samples=struct event", "--global", "step=10"];
    let mut run = Run::start(&daemon, &words);
    run.running();
    assert_eq!(run.events("attached")[0]["hook"], hook.as_str());
    assert_eq!(run.events("loaded")[0]["program_type"], "xdp");
    assert_eq!(traffic.send(2), 2);

    let event = run.wait_for("record", |event| event["map"] == "events");
    let length = event["value"]["bytes"].as_u64().unwrap();
    let expected =
        json!({"version": 1, "below_zero": -5, "kind": "KIND_SHORT", "name": "packet", "bytes": length});
    assert_eq!(event["value"], expected);
    let raw = run.wait_for("record", |event| event["map"] == "plain");
    assert_eq!(raw["value"], "72617700");
    let sample = run.wait_for("record", |event| event["map"] == "samples");
    assert_eq!(sample["value"]["name"], "packet");
    // The sum of two datagrams, the marker, and packets of the kernel itself.
    let packets =
        run.wait_for("changed", |event| event["map"] == "packets" && event["value"].as_u64() >= Some(30));
    assert_eq!(packets["value"].as_u64().unwrap() % 10, 0, "{packets}");
    assert_eq!((&packets["key"], packets["per_cpu"].is_array()), (&json!(0), true));
    run.wait_for("changed", |event| event["map"] == "kinds" && event["key"] == "KIND_SHORT");
    run.wait_for("variable", |event| event["variable"] == "seen" && event["value"].as_u64() >= Some(3));
    if has_print_buffers("what_a_program_says") {
        let print = run.wait_for("printed", |event| event["text"] == "bpfman-run saw version 1");
        assert!(print["cpu"].is_u64(), "{print}");
        assert_eq!(print_buffers(daemon.pid()).len(), 1);
    }

    run.signal(Signal::INT);
    assert_eq!(run.ended().code(), Some(0));
    assert_eq!(run.events("ended")[0]["why"], "interrupted");
    assert!(run.events("record").iter().filter(|event| event["map"] == "events").count() >= 3);
    assert!(is_empty(&daemon), "{:?}", daemon.state());
    until("the buffer for prints is gone", || print_buffers(daemon.pid()).is_empty());
}

/// Events shortly before the end are printed, too.
#[test]
fn a_run_ends_by_itself_with_the_last_changes_told() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let (hook, object) = (far(&network), compile::object("run"));
    let words = [text(&object), "tell", "--attach", &hook, "--interval", "1h"];
    let mut run = Run::start(&daemon, &words);
    run.running();
    assert_eq!(traffic.send(1), 1);
    run.signal(Signal::TERM);
    assert_eq!(run.ended().code(), Some(0));
    let changed: Vec<_> = run.events("changed").into_iter().map(|event| event["map"].clone()).collect();
    assert!(changed.contains(&json!("packets")) && changed.contains(&json!("kinds")), "{changed:?}");
    assert!(is_empty(&daemon));

    let mut run = Run::start(&daemon, &[text(&object), "tell", "--attach", &hook, "--for", "1s"]);
    assert_eq!(run.ended().code(), Some(0));
    assert_eq!(run.events("ended")[0]["why"], "time");
    assert!(is_empty(&daemon));
}

#[test]
fn a_section_says_where_a_program_attaches() {
    let daemon = Daemon::start();
    let object = compile::object("run");
    let mut run = Run::start(&daemon, &[text(&object), "asked"]);
    run.running();
    assert_eq!(run.events("attached")[0]["hook"], "tracepoint:syscalls/sys_enter_getpgid");
    rustix::process::getpgid(None).unwrap();
    run.wait_for("variable", |event| event["variable"] == "seen" && event["value"].as_u64() >= Some(1000));
    run.signal(Signal::INT);
    assert_eq!(run.ended().code(), Some(0));
    assert!(is_empty(&daemon));
}

#[test]
fn program_output_goes_to_stdout_and_the_rest_to_stderr() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (hook, object) = (far(&network), compile::object("run_two"));
    let mut command = daemon.cli_command();
    command.args(["run", text(&object), "first", "--attach", &hook, "--for", "1s"]);
    let outcome = bpfman_tests::Outcome::of(&mut command);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    for says in ["loaded first (xdp)", &format!("attached first to {hook}"), "detached and unloaded"] {
        assert!(outcome.stderr.contains(says), "{outcome:?}");
    }
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (hook, object) = (far(&network), compile::object("run"));
    let stays =
        daemon.bpfman(&format!("load file -p {} --programs xdp:tell -o json", object.display())).json();
    let mut run = Run::start(&daemon, &[text(&object), "--attach", &hook]);
    run.running();
    assert_eq!(daemon.state().programs.len(), 3);
    run.signal(Signal::KILL);
    run.ended();
    until("only what has no lease is left", || daemon.state().programs.len() == 1);
    assert_eq!(daemon.state().programs[0]["program_id"], stays["programs"][0]["program_id"]);
    assert!(daemon.state().links.is_empty());
    until("the buffer for prints is gone", || print_buffers(daemon.pid()).is_empty());
    let history = || daemon.bpfman("history -o json").json().to_string();
    until("the history has why it went", || history().contains("tell: its client is gone"));
}

#[test]
fn killed_daemon_ends_leased_programs_when_it_starts_again() {
    let network = Network::new();
    let mut daemon = Daemon::start();
    let (hook, object) = (far(&network), compile::object("run"));
    let mut run = Run::start(&daemon, &[text(&object), "tell", "--attach", &hook]);
    run.running();
    let pid = daemon.pid();
    if has_print_buffers("a_daemon_that_is_killed") {
        assert_eq!(print_buffers(pid).len(), 1);
    }
    daemon.kill();
    // The client exits once it notices that the daemon is gone.
    assert_eq!(run.ended().code(), Some(3));
    daemon.again(&Launch::default());
    until_empty(&daemon);
    assert!(print_buffers(pid).is_empty(), "{:?}", print_buffers(pid));
}

#[test]
fn a_daemon_that_ends_in_order_ends_what_was_leased_first() {
    let network = Network::new();
    let mut daemon = Daemon::start();
    let (hook, object) = (far(&network), compile::object("run"));
    let mut run = Run::start(&daemon, &[text(&object), "tell", "--attach", &hook]);
    run.running();
    let id = run.events("loaded")[0]["program_id"].as_u64().unwrap() as u32;
    assert!(daemon.terminate().success());
    run.ended();
    assert!(!bpfman_tests::kernel::has_program(id));
}

#[test]
fn changed_file_replaces_running_programs_and_keeps_maps() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let (hook, file) = (far(&network), daemon.path("tried.o"));
    let put = |bytes: &[u8]| {
        fs::write(daemon.path("new.o"), bytes).unwrap();
        fs::rename(daemon.path("new.o"), &file).unwrap();
    };
    let (one, two) = (compile::object("run"), compile::object_with("run", Some("VERSION=2")));
    let (one, two) = (fs::read(one).unwrap(), fs::read(two).unwrap());
    put(&one);
    let mut run = Run::start(&daemon, &[text(&file), "tell", "--attach", &hook, "--watch"]);
    run.running();
    assert_eq!(traffic.send(1), 1);
    run.wait_for("changed", |event| event["map"] == "packets" && event["value"].as_u64() >= Some(2));
    let counted = run.events("changed").iter().filter_map(|event| event["value"].as_u64()).max();
    let before = daemon.state();

    put(&two[..two.len() / 2]);
    let refused = run.wait_for("not_replaced", |_| true);
    assert!(refused["error"].as_str().unwrap().contains("tried.o"), "{refused}");
    let broken = fs::read(compile::object("broken")).unwrap();
    put(&broken);
    run.wait_for("not_replaced", |event| *event != refused);
    assert_eq!(daemon.state(), before);

    fs::write(&file, &two).unwrap();
    let replaced = run.wait_for("replaced", |_| true);
    let kept = |map: &str| {
        replaced["maps"].as_array().unwrap().iter().any(|of| of["map"] == map && of["outcome"] == "kept")
    };
    assert!(kept("packets") && kept("events"), "{replaced}");
    assert_eq!(daemon.state().links[0]["link_id"], before.links[0]["link_id"]);
    until("the maps are read again", || {
        assert_eq!(traffic.send(1), 1);
        run.events("record").iter().any(|event| event["map"] == "events" && event["value"]["version"] == 2)
    });
    run.wait_for("changed", |event| event["map"] == "packets" && event["value"].as_u64() > counted);
    run.signal(Signal::INT);
    assert_eq!(run.ended().code(), Some(0));
    assert!(is_empty(&daemon), "{:?}", daemon.state());
}

#[test]
fn a_replaced_program_still_ends_with_its_client() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (hook, file) = (far(&network), daemon.path("tried.o"));
    fs::copy(compile::object("run"), &file).unwrap();
    let mut run = Run::start(&daemon, &[text(&file), "tell", "--attach", &hook, "--watch"]);
    run.running();
    fs::copy(compile::object_with("run", Some("VERSION=2")), &file).unwrap();
    run.wait_for("replaced", |_| true);
    run.signal(Signal::KILL);
    run.ended();
    until_empty(&daemon);
}

#[test]
fn invalid_run_is_refused_and_nothing_is_left() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (hook, object, two) = (far(&network), compile::object("run"), compile::object("run_two"));
    let before = daemon.state();
    let refused = |words: &[&str], code, says: &[&str]| {
        let outcome = daemon.cli(&[&["run"], words].concat());
        outcome.fails(code, says);
        assert_eq!(daemon.state(), before, "{words:?}");
    };
    let (object, two) = (text(&object), text(&two));
    let elsewhere = "xdp:nowhere";
    refused(&[object, "none"], 6, &["none", "tell"]);
    refused(&["/nowhere/x.o"], 5, &["/nowhere/x.o"]);
    refused(&[object], 6, &["program \"tell\" of type xdp", "--attach tell=xdp:IFACE"]);
    refused(&[two, "--attach", &hook], 6, &["fits several programs: first, second", "--attach first="]);
    refused(
        &[object, "tell", "--attach", "kprobe:do_exit"],
        6,
        &["no program can be attached to kprobe:do_exit"],
    );
    refused(
        &[object, "--attach", "tell=tc:lo:ingress"],
        6,
        &["cannot be attached to tc:lo:ingress", "xdp:IFACE"],
    );
    refused(&[object, "tell", "--attach", "eth0"], 2, &["is no hook"]);
    refused(
        &[object, "tell", "--attach", &hook, "--record", "none=event"],
        6,
        &["no ring or perf buffer", "events"],
    );
    refused(
        &[object, "tell", "--attach", &hook, "--record", "plain=none"],
        6,
        &["no type \"none\"", "event"],
    );
    refused(&[object, "tell", "--attach", &hook, "--global", "none=1"], 6, &["none"]);
    let words =
        [two, "first", "second", "--attach", &format!("first={hook}"), &format!("second={elsewhere}")];
    refused(&words, 6, &["attaching second to xdp:nowhere", "nowhere"]);
    let broken = compile::object("broken");
    let outcome = daemon.cli(&["run", text(&broken), "--attach", &hook]);
    assert!(outcome.code != 0, "{outcome:?}");
    assert_eq!(daemon.state(), before);
}

/// A program in a section with a question mark runs only if it is named.
#[test]
fn a_section_with_a_question_mark_runs_when_it_is_named() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (hook, two) = (far(&network), compile::object("run_two"));
    let mut run = Run::start(&daemon, &[text(&two), "third", "--attach", &hook]);
    run.running();
    let loaded: Vec<_> = run.events("loaded").into_iter().map(|event| event["program"].clone()).collect();
    assert_eq!(loaded, ["third"]);
    run.signal(Signal::INT);
    assert_eq!(run.ended().code(), Some(0));
}

/// The kernel's trace output includes prints of other programs.
#[test]
fn prints_are_for_root_and_leases_for_who_may_load() {
    let ada = 64_201;
    let grant = format!("[[grants]]\nname = \"tries\"\nusers = [{ada}]\nallow = [\"load\", \"attach\"]\n");
    let policy = format!("[files]\nusers = [0, {ada}]\n{grant}");
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    let object = daemon.path("own.o");
    fs::copy(compile::object("run"), &object).unwrap();
    std::os::unix::fs::chown(&object, Some(ada), Some(ada)).unwrap();
    let network = Network::new();
    let line = format!("run {} tell --attach {} --for 1s", object.display(), far(&network));
    let outcome = daemon.bpfman_as(ada, &line);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let denied = format!("what the programs print is not shown: user {ada} may not do this: only root may");
    assert!(outcome.stderr.contains(&denied), "{outcome:?}");
    assert!(outcome.stderr.contains("map .bss is not shown"), "{outcome:?}");
    assert!(is_empty(&daemon), "{:?}", daemon.state());
    daemon.bpfman_as(64_202, &line).fails(4, &["user 64202 may not load"]);
}

#[test]
fn a_user_holds_few_leases_at_a_time() {
    let daemon = Daemon::start();
    let object = compile::object("run");
    let mut all: Vec<Run> = (0..8).map(|_| Run::start(&daemon, &[text(&object), "asked"])).collect();
    all.iter_mut().for_each(Run::running);
    daemon
        .bpfman(&format!("run {} asked", object.display()))
        .fails(1, &["8 leases are held, 8 of them by user 0"]);
    drop(all);
    until_empty(&daemon);
}

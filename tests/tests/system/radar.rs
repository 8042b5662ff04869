//! The radar: eBPF activity of other processes is recorded with its actors, also when there is too much of it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::{attach, tc, xdp};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::wait::{DEADLINE, until, within};
use bpfman_tests::{Daemon, Launch, Network, compile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::equipment::Program;
use crate::events::follow;
use crate::images::trusting_daemon;
use crate::strangers::command_with_bpffs;

const ADA: u32 = 64_321;
const EVE: u32 = 64_322;
pub const LOADER: u32 = 64_323;
const MAKER: u32 = 64_324;

pub struct Stranger {
    process: Child,
    stdin: Option<ChildStdin>,
    /// Its output: the name and the number of each action.
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

    /// Runs as a user with permission to load programs only, so that the limit of audit entries per user is not shared.
    pub fn of_user(user: u32, words: &[&str]) -> Self {
        Self::stays(as_user(user, Command::new("setpriv"), "+bpf,+net_admin"), words)
    }

    pub fn made(&self, what: &str) -> u64 {
        let (_, number) = self.did.iter().find(|(name, _)| name == what).unwrap();
        u64::try_from(*number).unwrap_or_else(|_| panic!("{what} failed: {number}"))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process. Unpinned objects are gone then.
    fn end(mut self) {
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

#[test]
fn loads_links_pins_and_maps_of_third_parties_name_their_makers() {
    let (daemon, network) = (daemon(), Network::new());
    let pin = daemon.fs().join("stranger");
    // Use a separate user: root's entries are limited, and other tests' daemons use them up. The pin's folder is
    // root's.
    let command = as_user(MAKER, network.far.command("setpriv"), "+bpf,+net_admin,+dac_override");
    let words = ["load", "map", "link", "1", "pin", pin.to_str().unwrap(), "detach"];
    let stranger = Stranger::stays(command, &words);
    let (program, link, pid) = (stranger.made("load"), stranger.made("link"), stranger.pid());
    let load = entry(&daemon, pid, "SeenLoad");
    assert_eq!(load["programs"], serde_json::json!([program]), "{load}");
    assert_eq!(
        (&load["uid"], &load["daemon"], &load["result"]),
        (&MAKER.into(), &"radar".into(), &"done".into())
    );
    assert_eq!(load["executable"], binary().display().to_string());
    assert_eq!(load["command"], "radar_stranger_"[..15]);
    let text = load["object"].as_str().unwrap();
    assert!(text.starts_with(&format!("program {program} \"stranger\" of type xdp, tag ")), "{text}");
    let made = entry(&daemon, pid, "SeenLink");
    assert_eq!(made["links"], serde_json::json!([link]), "{made}");
    assert!(made["object"].as_str().unwrap().contains("at xdp of interface 1"), "{made}");
    let pinned = entry(&daemon, pid, "SeenPin");
    assert!(pinned["object"].as_str().unwrap().ends_with(&format!("at {}", pin.display())), "{pinned}");
    assert!(entry(&daemon, pid, "SeenMap")["object"].as_str().unwrap().contains("\"strange\" of type array"));
    assert_eq!(entry(&daemon, pid, "SeenDetach")["links"], serde_json::json!([link]));
    let survey = daemon.bpfman("radar -o json").json();
    let found = |list: &str, id: u64| {
        let all = survey[list].as_array().unwrap();
        all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {survey}")).clone()
    };
    let shown = found("programs", program);
    assert_eq!(shown["loaded_by"]["pid"], pid, "{shown}");
    // A process that queries the kernel about an object holds it briefly too.
    assert!(shown["holders"].as_array().unwrap().iter().any(|holder| holder["pid"] == pid), "{shown}");
    assert_eq!(found("links", link)["made_by"]["pid"], pid);
    let own = programs(&daemon);
    assert!(own.len() >= 2, "{own:?}");
    let strange = survey["programs"].as_array().unwrap();
    assert!(strange.iter().all(|one| !own.contains(&one["id"].to_string())), "{survey}");
    assert!(daemon.bpfman("radar").success().contains("radar_stranger"));
    // Once two readings have shown events, the id list was read after the first one, while the program existed.
    for _ in 0..2 {
        let events = || status(&daemon)["events"].as_u64().unwrap();
        let before = events();
        Stranger::of_user(MAKER, &["load"]).end();
        until("the counts are read again", || events() > before);
    }
    std::fs::remove_file(&pin).unwrap();
    stranger.end();
    until("the end of the program is told", || {
        let is_told = |entry: &Value| entry["programs"].as_array().unwrap().contains(&program.into());
        seen(&daemon).iter().any(|entry| entry["verb"] == "SeenGone" && is_told(entry))
    });
}

fn run_as_process(mut command: Command) -> u32 {
    let mut process = command.spawn().unwrap();
    let ended = within(&format!("{command:?} to end"), || process.wait()).unwrap();
    assert!(ended.success(), "{command:?}");
    process.id()
}

#[test]
fn what_is_done_without_the_syscall_is_reported_or_its_lack_is() {
    let (daemon, network) = (daemon(), Network::new());
    let (source, unseen) = (status(&daemon)["source"].clone(), status(&daemon)["unseen"].clone());
    eprintln!("Linux {}: {source}, not seen: {unseen}", rustix::system::uname().release().to_string_lossy());
    let unseen = unseen.as_array().unwrap().clone();
    let sees = |what: &str| {
        let is_unseen = unseen.iter().any(|one| one.as_str().unwrap().starts_with(&format!("{what}: ")));
        // A kernel with trampolines has them for these functions too, in all kernels of the tests.
        assert!(!is_unseen || source != "trampolines", "{what}: {unseen:?}");
        !is_unseen
    };
    let (sockets, netlink) = (sees("programs at sockets"), sees("XDP by netlink"));
    let (pins, filters) = (sees("removed pins"), sees("filters of traffic control"));

    let stranger = Stranger::new(&["socket"]);
    let program = serde_json::json!([stranger.made("socket")]);
    assert_eq!(entry(&daemon, stranger.pid(), "SeenLoad")["programs"], program);
    if sockets {
        let attached = entry(&daemon, stranger.pid(), "SeenAttach");
        assert_eq!(attached["programs"], program, "{attached}");
        assert!(attached["object"].as_str().unwrap().ends_with(" at a socket"), "{attached}");
    }

    let object = compile::object("stranger").display().to_string();
    let run = |program: &str, line: &str| {
        run_as_process(command_with_bpffs(&network.far, &format!("exec {program} {line}")))
    };
    let by_ip = run("ip", &format!("link set dev {INTERFACE} xdpgeneric obj {object} sec xdp"));
    // `ip`'s library first loads others, to probe the kernel.
    let loads = entry_about(&daemon, by_ip, "SeenLoad", "\"stranger\" of type xdp");
    let off = run("ip", &format!("link set dev {INTERFACE} xdpgeneric off"));
    if netlink {
        let attached = entry(&daemon, by_ip, "SeenAttach");
        assert!(attached["object"].as_str().unwrap().ends_with(", by netlink"), "{attached}");
        assert!(loads["programs"].as_array().unwrap().contains(&attached["programs"][0]), "{attached}");
        assert_eq!(entry(&daemon, off, "SeenDetach")["command"], "ip");
    }

    let pin = daemon.fs().join("stranger");
    let stranger = Stranger::new(&["load", "pin", pin.to_str().unwrap()]);
    entry(&daemon, stranger.pid(), "SeenPin");
    let mut remove = Command::new("rm");
    remove.arg(&pin);
    let removed = run_as_process(remove);
    if pins {
        let told = entry(&daemon, removed, "SeenUnpin");
        assert!(told["object"].as_str().unwrap().contains("stranger"), "{told}");
    }

    run("tc", &format!("qdisc add dev {INTERFACE} clsact"));
    let filter = |preference: u32| {
        run("tc", &format!("filter add dev {INTERFACE} ingress pref {preference} bpf da obj {object} sec tc"))
    };
    let made = filter(7);
    let gone = run("tc", &format!("filter del dev {INTERFACE} ingress pref 7"));
    let wire = daemon.wire();
    let own = Program::member(&wire, "tc_member", Type::Tc, 1, 2).id;
    wire.attach(attach(own, tc(&network.far.path(), INTERFACE, "ingress", 7, &[]))).unwrap();
    let beside = filter(8);
    if filters {
        assert!(
            entry(&daemon, made, "SeenAttach")["object"].as_str().unwrap().starts_with("filter at interface")
        );
        entry(&daemon, gone, "SeenDetach");
        let touched = entry(&daemon, beside, "HookTouched");
        assert!(touched["object"].as_str().unwrap().starts_with("a filter beside ours"), "{touched}");
        assert_eq!(touched["owners"], serde_json::json!(["root"]), "{touched}");
    }

    // Only its pin holds the link of our hook.
    let own = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    wire.attach(attach(own, xdp(&network.far.path(), INTERFACE, 7, &[]))).unwrap();
    let mut remove = Command::new("rm");
    remove.arg(std::fs::read_dir(daemon.fs().join("xdp")).unwrap().next().unwrap().unwrap().path());
    let removed = run_as_process(remove);
    if pins {
        let touched = entry(&daemon, removed, "HookTouched");
        assert!(touched["object"].as_str().unwrap().starts_with("our pin removed: pin "), "{touched}");
        assert!(touched["hooks"][0].as_str().unwrap().starts_with("xdp:"), "{touched}");
    }
}

#[test]
fn signed_image_loads_and_survives_restarts_without_registry() {
    let mut registry = Registry::start();
    let (mut daemon, launch, key) = trusting_daemon(&registry);
    let name = registry.image("bpfman/radar:1");
    daemon.bpfman(&format!("image build -t {name} -b {}", object().display())).success();
    daemon.bpfman(&format!("image push {name}")).success();
    let start = format!("radar start --image {name}");
    daemon.bpfman(&start).fails(1, &["the radar is not switched", "signature", &name]);
    assert_eq!(status(&daemon)["source"], "off");
    assert!(programs(&daemon).is_empty());
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    daemon.bpfman(&start).success();
    wait_until_on(&daemon);
    assert!(status(&daemon)["object"].as_str().unwrap().contains(&name), "{}", status(&daemon));
    let made = programs(&daemon);
    let first = Stranger::new(&["load"]);
    entry(&daemon, first.pid(), "SeenLoad");
    registry.stop();
    daemon.terminate();
    daemon.again(&launch);
    wait_until_on(&daemon);
    assert_eq!(programs(&daemon), made);
    let second = Stranger::new(&["load"]);
    entry(&daemon, second.pid(), "SeenLoad");
    daemon.bpfman("radar stop").success();
    assert!(programs(&daemon).is_empty());
}

#[test]
fn first_load_of_a_process_is_sent_at_once_later_ones_batched() {
    const ROUNDS: usize = 20;
    let daemon = daemon();
    let (told, heard) = std::sync::mpsc::channel();
    let mut follower = follow(&daemon, "--after 0 --verb SeenLoad", move |event| {
        let _nobody_waits = told.send((Instant::now(), event));
    });
    // Other processes of the machine load programs as root too; many of them may be delayed.
    let entry_of = |pid: u32| loop {
        let (at, event) = heard.recv_timeout(DEADLINE).unwrap();
        if event["pid"] == pid {
            return (at, event);
        }
    };
    let _follows = entry_of(Stranger::of_user(LOADER, &["load"]).pid());
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let stranger = Stranger::of_user(LOADER, &["load", "load", "load"]);
            let (at, event) = entry_of(stranger.pid());
            assert_eq!(event["programs"][0], stranger.did[0].1, "{event}");
            at.saturating_duration_since(begun)
        })
        .collect();
    times.sort();
    let (median, most) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    eprintln!(
        "from the start of a process until its load is with who follows: median {median:?}, at most {most:?}"
    );
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn own_actions_are_not_reported_and_refused_calls_are() {
    let daemon = daemon();
    let own = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    let stranger = Stranger::new(&["refused", "3"]);
    let refused = entry(&daemon, stranger.pid(), "SeenLoad");
    assert_eq!((&refused["result"], &refused["reason"]), (&"failed".into(), &"kernel-refused".into()));
    until("all three are told", || counts(&of_process(&daemon, stranger.pid()), "SeenLoad") == 3);
    let told = seen(&daemon);
    assert!(
        told.iter().all(|entry| !entry["programs"].as_array().unwrap().contains(&own.into())),
        "{told:?}"
    );
    assert!(told.iter().all(|entry| entry["pid"] != daemon.pid()), "{told:?}");
    assert!(status(&daemon)["own_events"].as_u64().unwrap() > 0);
}

#[test]
fn a_flood_is_counted_whole_and_pushes_nobodys_entries_out() {
    /// Takes two seconds or less.
    const LOADS: u64 = 20_000;
    let daemon = daemon();
    let before = seen(&daemon).len();
    let stranger = Stranger::new(&["flood", &LOADS.to_string()]);
    let told = || of_process(&daemon, stranger.pid());
    let lost = || counts(&seen(&daemon), "Lost");
    until("all loads are told", || counts(&told(), "SeenLoad") + lost() >= LOADS);
    assert_eq!((counts(&told(), "SeenLoad"), lost()), (LOADS, 0));
    let entries = told().len();
    eprintln!("{LOADS} loads took {entries} entries");
    // The limit of entries is that for refusals of a user: 100, and one each half second.
    assert!(entries < 400 && before < 100, "{entries} entries");
}

#[test]
fn what_finds_the_ring_full_is_counted_and_no_loss_is_unnoticed() {
    /// Several times the capacity of the ring buffer.
    const LOADS: u64 = 15_000;
    let daemon = daemon();
    let signal = |signal| kill_process(Pid::from_raw(daemon.pid().cast_signed()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let stranger = Stranger::new(&["flood", &LOADS.to_string(), "refused", "100"]);
    signal(Signal::CONT);
    let of = |result: &str| -> Vec<Value> {
        of_process(&daemon, stranger.pid()).into_iter().filter(|entry| entry["result"] == result).collect()
    };
    let lost = || counts(&seen(&daemon), "Lost");
    until("all calls are told", || {
        counts(&of("done"), "SeenLoad") + counts(&of("failed"), "SeenLoad") + lost() >= LOADS + 100
    });
    assert_eq!((counts(&of("done"), "SeenLoad"), counts(&of("failed"), "SeenLoad"), lost()), (LOADS, 100, 0));
    let status = status(&daemon);
    assert!(status["aggregated"].as_u64().unwrap() > 1000, "the ring took all: {status}");
    assert_eq!(status["lost"], 0);
}

#[test]
fn a_killed_daemon_resumes_and_reports_what_happened_meanwhile() {
    let mut daemon = daemon();
    let before = programs(&daemon);
    daemon.kill();
    let stranger = Stranger::new(&["load"]);
    daemon.again(&launch());
    let load = entry(&daemon, stranger.pid(), "SeenLoad");
    assert_eq!(load["programs"], serde_json::json!([stranger.made("load")]));
    assert_eq!(programs(&daemon), before);
    daemon.terminate();
    daemon.again(&Launch::default());
    until("they are gone", || programs(&daemon).is_empty());
    assert_eq!(status(&daemon)["source"], "off");
}

#[test]
fn a_daemon_that_starts_with_a_full_ring_reports_all_of_it_once() {
    /// Several times the capacity of the ring buffer.
    const LOADS: u64 = 15_000;
    let mut daemon = daemon();
    let before = programs(&daemon);
    daemon.kill();
    let stranger = Stranger::new(&["flood", &LOADS.to_string()]);
    daemon.again(&launch());
    let told = || counts(&of_process(&daemon, stranger.pid()), "SeenLoad");
    let lost = || counts(&seen(&daemon), "Lost");
    until("all loads are told", || told() + lost() >= LOADS);
    assert_eq!((told(), lost()), (LOADS, 0));
    assert_eq!(programs(&daemon), before);
    assert!(status(&daemon)["aggregated"].as_u64().unwrap() > 1000, "the ring took all: {}", status(&daemon));
}

#[test]
fn a_radar_whose_program_is_unloaded_comes_back() {
    let daemon = daemon();
    let first = programs(&daemon).into_iter().next().unwrap();
    daemon.bpfman(&format!("unload {first}")).success();
    until("it says so", || seen(&daemon).iter().any(|entry| entry["verb"] == "Lost"));
    wait_until_on(&daemon);
    assert!(!programs(&daemon).contains(&first));
    let stranger = Stranger::new(&["load"]);
    entry(&daemon, stranger.pid(), "SeenLoad");
}

/// Returns whether all threads of a process are stopped (proc_pid_stat(5)).
fn stands_still(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    })
}

#[test]
fn vanished_process_is_reported_by_kernel_data_without_its_name() {
    let daemon = daemon();
    let signal = |signal| kill_process(Pid::from_raw(daemon.pid().cast_signed()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    // Threads stop when the signal has reached them.
    until("the daemon stands still", || stands_still(daemon.pid()));
    let stranger = Stranger::new(&["name", "a\n\u{1b}[2Jb\",{", "load"]);
    let pid = stranger.pid();
    stranger.end();
    signal(Signal::CONT);
    let load = entry(&daemon, pid, "SeenLoad");
    assert_eq!((&load["gone"], &load["command"]), (&true.into(), &"a\n\u{1b}[2Jb\",{".into()), "{load}");
    assert_eq!(load["executable"], Value::Null);
    for line in ["history --by radar", "events --by radar"] {
        let table = daemon.bpfman(line).success();
        assert!(table.contains("a\\n\\u{1b}[2Jb"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
    }
    assert!(!daemon.log().contains('\u{1b}'));
}

#[test]
fn who_touches_a_hook_of_ours_is_told_as_such() {
    let (daemon, network) = (daemon(), Network::new());
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let far = network.far.path();
    wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap();
    let hook = format!("xdp:{INTERFACE}@{}", far.display());
    let shown = daemon.bpfman(&format!("chain show {hook} -o json")).json();
    let link = shown["entries"][0]["kernel_link_id"].as_u64().unwrap();
    let stranger = Stranger::new(&["open-link", &link.to_string(), "detach"]);
    assert_eq!(stranger.made("detach"), 0);
    let touched = entry(&daemon, stranger.pid(), "HookTouched");
    assert_eq!(
        (&touched["hooks"][0], &touched["links"][0]),
        (&hook.as_str().into(), &link.into()),
        "{touched}"
    );
    assert!(touched["object"].as_str().unwrap().starts_with("our link detached by force"), "{touched}");
    assert_eq!(touched["owners"], serde_json::json!(["root"]), "{touched}");
    until("it is remembered", || {
        status(&daemon)["touched"][0].as_str().is_some_and(|what| what.contains(&hook))
    });
    assert!(daemon.bpfman(&format!("history {hook}")).success().contains("HookTouched"));
    assert!(daemon.bpfman("doctor").stdout.contains("our link detached by force"));
}

#[test]
fn tcx_attach_without_a_link_at_our_hook_is_reported_as_such() {
    if lacks_tcx("tcx_attach_without_a_link_at_our_hook_is_reported_as_such") {
        return;
    }
    let (daemon, network) = (daemon(), Network::new());
    let wire = daemon.wire();
    let own = Program::member(&wire, "tc_member", Type::Tc, 1, 2).id;
    wire.attach(attach(own, tc(&network.far.path(), INTERFACE, "ingress", 7, &[]))).unwrap();
    let command = network.far.command(binary().to_str().unwrap());
    let stranger = Stranger::stays(command, &["tcx", INTERFACE, "tcx-off", INTERFACE]);
    assert_eq!((stranger.made("tcx"), stranger.made("tcx-off")), (0, 0));
    for what in ["a program beside ours: ", "a program beside ours detached: "] {
        let touched = entry_about(&daemon, stranger.pid(), "HookTouched", what);
        assert!(touched["object"].as_str().unwrap().contains(" at tcx_ingress of interface "), "{touched}");
        assert!(touched["hooks"][0].as_str().unwrap().starts_with("tc:"), "{touched}");
    }
}

#[test]
fn what_strangers_do_is_for_root_and_for_who_has_a_grant() {
    let policy = format!(
        "[access]\nsocket_group = \"read\"\n\
         [[grants]]\nname = \"watchers\"\nusers = [{ADA}]\nallow = [\"read\", \"radar\"]\n"
    );
    let daemon = Daemon::start_with(&Launch { policy, ..launch() });
    daemon.open_to_users();
    wait_until_on(&daemon);
    let stranger = Stranger::new(&["load"]);
    entry(&daemon, stranger.pid(), "SeenLoad");
    let pids = |uid| {
        let told = daemon.bpfman_as(uid, "events --by radar -o json").success();
        let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        told.iter().any(|entry| entry["pid"] == stranger.pid())
    };
    assert_eq!((pids(ADA), pids(EVE)), (true, false));
    // The same users see the radar's own entries: that a program ended, and that events were lost.
    let entries = |uid| -> Vec<Value> {
        let told = daemon.bpfman_as(uid, "events -o json").success();
        let told = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        told.filter(|event| event["event"] == "entry").collect()
    };
    let has = |uid, verb: &str| entries(uid).iter().any(|entry| entry["verb"] == verb);
    stranger.end();
    until("the end of a program is told", || {
        // Only programs that exist at one reading of the ids, a second apart, and are missing at a later one.
        Stranger::new(&["load"]).end();
        has(ADA, "SeenGone")
    });
    daemon.bpfman(&format!("unload {}", programs(&daemon).first().unwrap())).success();
    until("the radar says what it lost", || has(ADA, "Lost"));
    let object = compile::object("chain").display().to_string();
    daemon.bpfman(&format!("load file -p {object} --programs xdp:xdp_member --ttl 1s")).success();
    until("a program has expired", || has(0, "Expire"));
    let parts = |uid| -> BTreeSet<String> {
        let parts = entries(uid).into_iter();
        parts.filter_map(|entry| entry["daemon"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(parts(ADA), BTreeSet::from(["radar".to_owned()]));
    assert!(!["SeenGone", "Lost", "StartRadar", "Expire"].iter().any(|verb| has(EVE, verb)));
    assert!(daemon.bpfman_as(ADA, "radar -o json").json()["radar"]["events"].is_number());
    for line in ["radar", "radar --follow"] {
        daemon.bpfman_as(EVE, line).fails(4, &["may not radar", "hint:"]);
    }
    for user in [ADA, EVE] {
        for line in ["radar stop", "radar start --file /x.o"] {
            daemon.bpfman_as(user, line).fails(4, &["only root"]);
        }
    }
}

#[test]
fn switching_by_call_works_and_unusable_programs_leave_nothing() {
    let mut daemon = Daemon::start();
    assert_eq!(status(&daemon)["source"], "off");
    daemon
        .bpfman("radar start --file /nowhere/radar.o")
        .fails(1, &["the radar is not switched", "/nowhere/radar.o"]);
    let other = compile::example("xdp-counter");
    daemon.bpfman(&format!("radar start --file {}", other.display())).fails(1, &["traced_ended"]);
    assert!(programs(&daemon).is_empty());
    daemon.bpfman(&format!("radar start --file {}", object().display())).success();
    assert_ne!(status(&daemon)["source"], "off");
    let made = programs(&daemon);
    assert!(made.len() >= 2);
    daemon.bpfman(&format!("radar start --file {}", object().display())).success();
    daemon.terminate();
    daemon.again(&Launch::default());
    wait_until_on(&daemon);
    assert_eq!(programs(&daemon), made);
    daemon.bpfman("radar stop").success();
    assert!(programs(&daemon).is_empty());
    assert_eq!(status(&daemon)["source"], "off");
    daemon.terminate();
    daemon.again(&launch());
    wait_until_on(&daemon);
    daemon.bpfman("radar stop").fails(7, &["[radar] of bpfman.toml"]);
    let (code, said) = Daemon::prepare()
        .refuses(&Launch { config: "[radar]\nfile = \"radar.o\"\n".to_owned(), ..Launch::default() });
    assert!(
        !code.success() && said.contains("radar.file: \"radar.o\" does not begin with a slash"),
        "{said}"
    );
}

#[test]
fn without_a_source_that_the_kernel_takes_lists_of_ids_are_read() {
    let config = format!("[radar]\nfile = \"{}\"\n", compile::example("xdp-counter").display());
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    until("it polls", || status(&daemon)["source"] == "polling");
    let why = status(&daemon)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("call_ended") && why.contains("traced_ended"), "{why}");
    let stranger = Stranger::new(&["load"]);
    let program = stranger.made("load");
    let mut found = None;
    until("the load is told", || {
        let is_it =
            |entry: &Value| entry["verb"] == "SeenLoad" && entry["programs"] == serde_json::json!([program]);
        found = seen(&daemon).into_iter().find(is_it);
        found.is_some()
    });
    assert_eq!(found.unwrap()["pid"], stranger.pid(), "who holds it is taken for who made it");
    const LOADS: u64 = 2_000;
    let before = counts(&seen(&daemon), "Lost");
    Stranger::new(&["flood", &LOADS.to_string()]);
    until("the flood is told", || counts(&seen(&daemon), "Lost") >= before + LOADS);
    assert!(status(&daemon)["lost"].as_u64().unwrap() >= LOADS);
}

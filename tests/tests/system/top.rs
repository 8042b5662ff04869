//! `bpfman top`: on a terminal with a daemon under traffic, and for scripts.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::xdp;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile, kernel};
use rustix::process::Signal;
use serde_json::Value;

use crate::chains::put;
use crate::equipment::Program;
use crate::grants;
use crate::terminal::OnTerminal;

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const USER: u32 = 64_211;

fn chain_that_drops(daemon: &Daemon, network: &Network) -> (Program, Program) {
    let wire = daemon.wire();
    let programs = [(1, XDP_PASS), (2, XDP_DROP)]
        .map(|(who, verdict)| Program::member(&wire, "xdp_member", Type::Xdp, who, verdict));
    for (program, priority) in programs.iter().zip([10, 20]) {
        put(&wire, program, xdp(&network.far.path(), INTERFACE, priority, &[]));
    }
    let [first, second] = programs;
    (first, second)
}

fn verdicts_of_last_member(shown: &str) -> Option<String> {
    let mut lines = shown.lines().filter(|line| line.starts_with("  xdp_member"));
    lines.next_back().map(str::to_owned)
}

#[test]
fn terminal_shows_programs_chains_verdicts_maps_and_owners() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (_first, second) = chain_that_drops(&daemon, &network);
    let traffic = Traffic::new(&network);
    let mut top = OnTerminal::start(&daemon, (24, 80), "top --interval 100ms", &[]);
    let shown = top.until_text("xdp_member");
    assert!(shown.contains("1 Programs  2 Chains  3 Maps  4 Owners"), "{shown}");
    assert!(shown.contains("*CPU %") && shown.contains("RUNS/S") && shown.contains("q quit"), "{shown}");
    assert!(top.is_alternate());
    assert!(!top.is_coloured(), "nothing is wrong");

    top.press("2");
    top.until_text("HOOK, PROGRAMS");
    let shown = top.until_shown("drops a second", |shown| {
        let _arrived = traffic.send(20);
        verdicts_of_last_member(shown)
            .is_some_and(|line| line.rsplit_once("drop ").is_some_and(|(_, rate)| rate.trim() != "0"))
    });
    assert!(shown.contains(&format!("xdp:{INTERFACE}@")), "{shown}");

    top.press("G\r");
    let shown = top.until_text("History, newest first");
    assert!(shown.contains(&format!("Program {} xdp_member (xdp)", second.id)), "{shown}");
    assert!(shown.contains("owner root") && shown.contains("asked for by user 0"), "{shown}");
    assert!(shown.contains("attach  done  root"), "{shown}");
    top.press("q");
    top.until_text("HOOK, PROGRAMS");

    top.press("3");
    top.until_text("MOST ENTRIES");
    top.press("/hits\r");
    let shown = top.until_text("only: hits");
    assert!(shown.contains("hits") && !shown.contains("trail"), "{shown}");
    top.press("\x1b");
    top.until_shown("all maps again", |shown| !shown.contains("only: "));

    top.press("4");
    top.until_text("root");
    top.press("\r");
    top.until_text("only: root");
    top.press("?");
    top.until_text("sort by the next column");
    top.press("q");
    top.until_shown("the programs", |shown| !shown.contains("sort by the next column"));

    top.resize((5, 20));
    top.until_text("20x5 is too small");
    top.resize((12, 40));
    let shown = top.until_text("xdp_member");
    assert!(!shown.contains("OWNER"), "what has no room is left out: {shown}");
    top.press("q");
    assert!(top.ended().success());
    top.until_shown("the user's own screen", |_| !top.is_alternate());
    assert!(top.is_restored());
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_command() {
    let daemon = Daemon::start();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut top = OnTerminal::start(&daemon, (24, 80), "top", &[]);
        top.until_text("bpfman top");
        assert!(!top.is_restored());
        top.signal(signal);
        assert!(top.ended().success(), "{signal:?}");
        assert!(top.is_restored(), "{signal:?}");
        top.until_shown("the user's own screen", |_| !top.is_alternate());
    }
    let mut top = OnTerminal::start(&daemon, (24, 80), "top", &[]);
    top.until_text("bpfman top");
    top.press("\x03");
    assert!(top.ended().success() && top.is_restored());
}

#[test]
fn a_restart_of_the_daemon_is_told_and_figures_go_on() {
    let mut daemon = Daemon::start();
    let _kept = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, XDP_PASS);
    let mut top = OnTerminal::start(&daemon, (24, 80), "top --interval 100ms", &[]);
    top.until_text("xdp_member");
    daemon.terminate();
    top.until_text("the daemon has gone; trying again");
    assert!(top.is_coloured(), "what is wrong is red");
    daemon.again(&Launch::default());
    top.until_shown("the keys again", |shown| shown.contains("xdp_member") && shown.contains("q quit"));
    top.press("q");
    assert!(top.ended().success());
    let mut top = OnTerminal::start(&daemon, (24, 80), "top --interval 100ms", &[("NO_COLOR", "1")]);
    top.until_text("xdp_member");
    daemon.kill();
    top.until_text("the daemon has gone; trying again");
    assert!(!top.is_coloured());
    top.press("q");
    assert!(top.ended().success());
}

#[test]
fn a_terminal_without_a_screen_gets_lines() {
    let daemon = Daemon::start();
    let _kept = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, XDP_PASS);
    let mut top = OnTerminal::start(&daemon, (24, 80), "top --once --interval 100ms", &[("TERM", "dumb")]);
    assert!(top.ended().success());
    let shown = top.until_text("xdp_member");
    assert!(shown.contains("NAME") && !top.is_alternate(), "{shown}");
}

#[test]
fn scripts_get_one_document() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (first, second) = chain_that_drops(&daemon, &network);
    let traffic = Traffic::new(&network).stream();
    let top = daemon.bpfman("top --once --interval 500ms -o json").json();
    let _arrived = traffic.end();
    assert_eq!(top["runs_timed"], Value::Bool(true));
    let ids: Vec<_> =
        top["programs"].as_array().unwrap().iter().map(|one| one["program_id"].as_u64()).collect();
    assert_eq!(ids.len(), 2);
    for program in [&first, &second] {
        assert!(ids.contains(&Some(program.id.into())), "{top}");
    }
    let chain = &top["chains"][0];
    assert!(chain["packets_per_second"].as_f64().unwrap() > 0.0, "{chain}");
    assert!(chain["nanoseconds_per_packet"].as_f64().unwrap() > 0.0, "{chain}");
    let members = chain["members"].as_array().unwrap();
    assert_eq!(members[1]["ended"][0]["verdict"], "drop");
    assert!(members[1]["ended"][0]["per_second"].as_f64().unwrap() > 0.0, "{chain}");
    assert_eq!(top["owners"][0]["owner"], "root");
    assert!(top["maps"].as_array().unwrap().iter().any(|map| map["name"] == "hits"), "{top}");

    let table = daemon.bpfman("top --once --interval 100ms --view chains").success();
    assert!(table.contains("HOOK, PROGRAMS") && table.contains("  xdp_member"), "{table}");
    let quiet = daemon.bpfman("top --once --interval 100ms -q").success();
    assert_eq!(quiet.lines().count(), 2, "{quiet}");
    daemon.bpfman("top --interval 5ms").fails(2, &["within 100ms and 60s"]);
}

#[test]
fn without_trace_no_cpu_times_and_without_read_nothing() {
    let policy = format!("[files]\nusers = [0, {USER}]\n");
    let daemon = grants::daemon(policy);
    let _kept = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, XDP_PASS);
    let top = daemon.bpfman_as(USER, "top --once --interval 100ms -o json").json();
    assert_eq!((&top["runs_timed"], &top["cpu_percent"]), (&Value::Bool(false), &Value::Null));
    let note = top["note"].as_str().unwrap();
    assert!(note.contains("no CPU times") && note.contains("may not trace"), "{note}");
    assert_eq!(top["programs"][0]["name"], "xdp_member");
    let daemon = grants::daemon("[access]\nsocket_group = \"nothing\"\n".to_owned());
    daemon.bpfman_as(USER, "top --once").fails(4, &["may not read"]);
}

#[test]
fn names_of_programs_command_no_terminal() {
    let request = |name: &str| ext::FollowFiguresRequest { hook: name.to_owned(), ..Default::default() };
    let daemon = Daemon::start();
    let refused = daemon.wire().follow_figures(request("xdp:\x1b[2J")).unwrap_err();
    assert!(refused.message().contains("xdp:"), "{refused}");
    let outcome = daemon.bpfman("chain watch xdp:eth\u{1b}[2J --count 1");
    assert_ne!(outcome.code, 0);
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
}

#[test]
fn watched_chain_is_timed_while_the_watcher_is_connected() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let _programs = chain_that_drops(&daemon, &network);
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let is_timed = |daemon: &Daemon| {
        let chain = daemon.bpfman(&format!("chain show {hook} -o json")).json();
        chain["members"].as_array().unwrap().iter().any(|one| !one["time_samples"].is_null())
    };
    let traffic = Traffic::new(&network).stream();
    let watched = daemon.bpfman(&format!("chain watch {hook} --interval 200ms --count 3 -o json")).success();
    let _arrived = traffic.end();
    let lines: Vec<Value> = watched.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().any(|line| line["chain"]["packets_per_second"].as_f64() > Some(0.0)), "{watched}");
    assert!(lines.iter().all(|line| line["chain"]["timing"] == false), "{watched}");

    let line = format!("chain watch {hook} --interval 100ms --timing");
    let mut watching = OnTerminal::start(&daemon, (24, 100), &line, &[]);
    watching.until_text("HOOK, PROGRAMS");
    watching.until_shown("the same lines", |shown| shown.matches("HOOK, PROGRAMS").count() == 1);
    assert!(has_twin(&daemon), "{:?}", kernel::pins(&daemon.fs()));
    watching.signal(Signal::KILL);
    watching.ended();
    until("the timing has ended", || !has_twin(&daemon));
    assert!(!is_timed(&daemon));

    // If the daemon is killed during a timing, the next daemon ends it.
    let mut watching = OnTerminal::start(&daemon, (24, 100), &line, &[]);
    watching.until_text("HOOK, PROGRAMS");
    assert!(has_twin(&daemon));
    daemon.kill();
    watching.signal(Signal::KILL);
    watching.ended();
    assert!(has_twin(&daemon));
    daemon.again(&Launch::default());
    assert!(!has_twin(&daemon), "{:?}", kernel::pins(&daemon.fs()));
    assert!(!is_timed(&daemon));
    let history = daemon.bpfman("history --accesses -o json").success();
    assert!(history.contains("TimeMembers") && history.contains("its client has gone"), "{history}");

    daemon.bpfman(&format!("chain timing {hook} on")).success();
    daemon.bpfman(&format!("chain watch {hook} --interval 100ms --count 1 --timing")).success();
    assert!(has_twin(&daemon));
    daemon.bpfman(&format!("chain timing {hook} off")).success();
    assert!(!has_twin(&daemon));
    daemon.bpfman("chain watch xdp:none0 --count 1").fails(5, &["xdp:none0"]);
}

#[test]
fn chains_are_timed_while_top_is_open() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let _programs = chain_that_drops(&daemon, &network);
    let mut top = OnTerminal::start(&daemon, (24, 100), "top --interval 100ms --view chains", &[]);
    until("the chain is timed", || has_twin(&daemon));
    // A new daemon begins the measurement again.
    daemon.kill();
    daemon.again(&Launch::default());
    until("it is timed again", || has_twin(&daemon));
    top.signal(Signal::KILL);
    top.ended();
    until("the timing has ended", || !has_twin(&daemon));
    let entries = || daemon.bpfman("history --accesses -o json").success().matches("TimeMembers").count();
    let before = entries();
    daemon.bpfman("top --once --interval 100ms").success();
    assert_eq!((entries(), before > 0), (before, true), "one measurement changes no chain");
}

fn has_twin(daemon: &Daemon) -> bool {
    kernel::pins(&daemon.fs()).iter().any(|pin| pin.contains("twin_0"))
}

#[test]
fn timing_takes_the_right_to_set_switches() {
    let (daemon, network) = (grants::daemon(format!("[files]\nusers = [0, {USER}]\n")), Network::new());
    let _programs = chain_that_drops(&daemon, &network);
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let line = format!("chain watch {hook} --interval 100ms --count 1");
    daemon.bpfman_as(USER, &line).success();
    daemon.bpfman_as(USER, &format!("{line} --timing")).fails(4, &["may not change settings"]);
    assert!(!has_twin(&daemon));
}

#[test]
fn explain_names_the_member_that_takes_most_of_a_chains_time() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, far) = (daemon.wire(), network.far.path());
    let quick = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_PASS);
    put(&wire, &quick, xdp(&far, INTERFACE, 10, &[]));
    let line = format!("load file -p {} --programs xdp:xdp_slow -q", compile::object("slow").display());
    let slow = daemon.bpfman(&line).success();
    daemon.bpfman(&format!("attach {} xdp -i {INTERFACE} -p 20 -n {}", slow.trim(), far.display())).success();
    let explain = format!("explain xdp:{INTERFACE}@{}", far.display());
    let found = daemon.bpfman(&explain).success();
    assert!(
        found.contains("what each program takes is not known") && found.contains("chain timing"),
        "{found}"
    );
    daemon.bpfman(&format!("chain timing xdp:{INTERFACE}@{} on", far.display())).success();
    let traffic = Traffic::new(&network);
    let mut found = String::new();
    // One packet in 1,024 is timed: send enough for several samples.
    until("the slow one is named", || {
        let _arrived = traffic.send(2_000);
        found = daemon.bpfman(&explain).success();
        found.contains("is slow")
    });
    assert!(found.contains("position 1 (xdp_slow) is slow: it takes "), "{found}");
    assert!(found.contains("It is of root, from") && found.contains("slow_bpf"), "{found}");
    assert!(!found.contains("(xdp_member) is slow"), "{found}");
}

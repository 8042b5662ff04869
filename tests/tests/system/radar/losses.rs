//! Activity is counted, also when there is too much of it, and while no daemon runs.

use bpfman_tests::Launch;
use bpfman_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::*;

#[test]
fn a_flood_is_counted_whole_and_pushes_nobodys_entries_out() {
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
    // Entries are limited like refusals of a user: 100, and one each half second.
    assert!(entries < 400 && before < 100, "{entries} entries");
}

#[test]
fn events_lost_to_a_full_ring_are_counted() {
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

//! Attacks by commands that change an argument between its check and its use.

use std::io::BufReader;
use std::process::Stdio;

use bpfman_tests::wait::until;
use bpfman_tests::{Network, Outcome, command, compile};

use super::{ADA, BOB, EVE, Sessions, sessions, sessions_of};

/// Number of calls of an attack: `make run-as-attacks` makes 1,000,000.
fn rounds(short: u64) -> u64 {
    std::env::var("BPFMAN_TEST_ROUNDS").map_or(short, |rounds| rounds.parse().unwrap())
}

/// Number of calls of one session: each session must end before its timeout, even on a busy machine.
const OF_SESSION: u64 = 1_000;

/// Returns the sums of the three numbers that the program prints. Sessions are in a namespace with two interfaces.
fn in_sessions(daemon: &Sessions, network: &Network, user: u32, words: &[&str], mut left: u64) -> [u64; 3] {
    let mut sums = [0; 3];
    while left > 0 {
        let some = left.min(OF_SESSION).to_string();
        let mut command = daemon.session_command(user, &[words, &[&some]].concat());
        let counts = network.near.inside(move || Outcome::of(&mut command)).success();
        let counts = counts.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        left -= left.min(OF_SESSION);
    }
    sums
}

#[test]
fn arguments_that_change_during_the_call_win_nothing() {
    let (daemon, network) = (sessions(), Network::new());
    let race = daemon.readable(&compile::executable("raw_race")).display().to_string();
    let sums = in_sessions(&daemon, &network, BOB, &[&race], rounds(3000));
    let [right, wrong, refused] = sums;
    eprintln!("{right} of the granted type, {wrong} of another, {refused} refused");
    assert_eq!((wrong, right + refused), (0, rounds(3000)));
    assert!(right > 0 && refused > 0, "{sums:?}");
}

#[test]
fn races_for_objects_memory_and_paths_win_nothing() {
    let daemon = sessions_of(&format!(
        "[[grants]]\nname = \"tools\"\nusers = [{ADA}]\nallow = [\"raw\"]\n\
         [[grants]]\nname = \"narrow\"\nusers = [{BOB}]\nallow = [\"raw\"]\ntypes = [\"xdp\"]\nhooks = [\"xdp:lo\"]\n\
         limits = {{ map_memory = \"1MiB\" }}\n\
         [[grants]]\nname = \"watch\"\nusers = [{EVE}]\nallow = [\"raw\"]\ntypes = [\"raw_tracepoint\", \"tracepoint\"]\n\
         targets = [\"raw_tracepoint:sys_enter\", \"tracepoint:syscalls/sys_enter_getpriority\"]\n"
    ));
    let network = Network::new();
    let attacks = daemon.readable(&compile::executable("raw_attacks")).display().to_string();
    let names = daemon.session(BOB, &[&attacks]).success();
    let chosen = std::env::var("BPFMAN_TEST_ATTACK").ok();
    let names = names.lines().filter(|name| chosen.as_deref().is_none_or(|chosen| chosen == *name));
    // Count files and objects of sessions only: the daemon opens other files over time.
    let is_of_session = |link: &std::path::Path| {
        ["/sessions/", "bpf-"].iter().any(|part| link.to_string_lossy().contains(part))
    };
    let descriptors = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
        open.filter_map(|entry| entry.path().read_link().ok()).filter(|link| is_of_session(link)).count()
    };
    let before = descriptors();
    let rounds = rounds(300);
    for name in names {
        let user = match name {
            // Test runs need a grant of all hooks.
            "run" => ADA,
            "tracepoint" | "event" => EVE,
            _ => BOB,
        };
        let [right, wrong, refused] = in_sessions(&daemon, &network, user, &[&attacks, name], rounds);
        eprintln!("{name}: {right} as granted, {wrong} wrong, {refused} refused");
        assert_eq!((wrong, right + refused), (0, rounds), "{name}");
        until("the daemon holds nothing of the session", || descriptors() <= before);
        let is_left = |kind: &str| command::run(&["bpftool", kind, "show"]).contains("name raw_attack ");
        until("the kernel has nothing of the session", || !is_left("prog") && !is_left("map"));
    }
}

#[test]
fn other_processes_of_the_user_do_not_reach_the_receiver() {
    let daemon = sessions();
    let attacks = daemon.readable(&compile::executable("raw_attacks")).display().to_string();
    let mut command = daemon.session_command(BOB, &["sh", "-c", "echo $PPID; cat"]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let receiver = super::life::line(&mut BufReader::new(child.stdout.take().unwrap()));
    let (user, calls) = (BOB.to_string(), rounds(300).to_string());
    let as_user =
        ["setpriv", "--reuid", &user, "--clear-groups", "--", &attacks, "receiver", &calls, &receiver];
    assert_eq!(command::run(&as_user).trim_end(), format!("0 0 {calls}"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn calls_that_act_for_the_daemon_or_show_others_are_refused() {
    let daemon = sessions();
    let calls = daemon.readable(&compile::executable("raw_refused")).display().to_string();
    // Bob's grant has no perf events; a perf buffer for the program's own output needs no grant.
    assert_eq!(daemon.session(BOB, &[&calls]).success(), "1 0 1 1\n");
    assert_eq!(daemon.session(ADA, &[&calls]).success(), "1 0 1 0\n");
}

#[test]
fn addresses_of_the_kernel_need_a_grant_of_all_probes() {
    let daemon = sessions();
    let show = |user| {
        let mut command = daemon.cli_command_as(user, user);
        command.args(["run-as", "--kallsyms", "--", "grep", "-m1", " T ", "/proc/kallsyms"]);
        bpfman_tests::Outcome::of(&mut command)
    };
    show(BOB).fails(4, &["may not raw"]);
    let shown = show(ADA).success();
    assert!(!shown.starts_with("0000000000000000") && shown.contains(" T "), "{shown}");
}

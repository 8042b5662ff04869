//! Attacks by commands that change an argument between its check and its use.

use bpfman_tests::compile;
use bpfman_tests::wait::until;

use super::{ADA, BOB, Sessions, sessions, sessions_of};

/// Number of calls of an attack: `make run-as-attacks` makes 1,000,000.
fn rounds(short: u64) -> u64 {
    std::env::var("BPFMAN_TEST_ROUNDS").map_or(short, |rounds| rounds.parse().unwrap())
}

/// Number of calls of one session: each session must end before its timeout, even on a busy machine.
const OF_SESSION: u64 = 10_000;

/// Returns the sums of the three numbers that the program prints.
fn in_sessions(daemon: &Sessions, user: u32, words: &[&str], mut left: u64) -> [u64; 3] {
    let mut sums = [0; 3];
    while left > 0 {
        let some = left.min(OF_SESSION).to_string();
        let counts = daemon.session(user, &[words, &[&some]].concat()).success();
        let counts = counts.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        left -= left.min(OF_SESSION);
    }
    sums
}

#[test]
fn arguments_that_change_during_the_call_win_nothing() {
    let daemon = sessions();
    let race = daemon.readable(&compile::executable("raw_race")).display().to_string();
    let sums = in_sessions(&daemon, BOB, &[&race], rounds(3000));
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
         limits = {{ map_memory = \"1MiB\" }}\n"
    ));
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
        // Test runs need a grant of all hooks.
        let user = if name == "run" { ADA } else { BOB };
        let [right, wrong, refused] = in_sessions(&daemon, user, &[&attacks, name], rounds);
        eprintln!("{name}: {right} as granted, {wrong} wrong, {refused} refused");
        assert_eq!((wrong, right + refused), (0, rounds), "{name}");
        until("the daemon holds nothing of the session", || descriptors() <= before);
    }
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

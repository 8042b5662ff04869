//! Attacks by commands: what is judged is what is used.

use bpfman_tests::compile;

use super::{ADA, BOB, sessions};

/// Number of loads: `make run-as-attacks` does 1,000,000.
fn rounds() -> String {
    std::env::var("BPFMAN_TEST_ROUNDS").unwrap_or_else(|_| "3000".to_owned())
}

#[test]
fn arguments_that_change_during_the_call_win_nothing() {
    let daemon = sessions();
    let race = daemon.readable(&compile::executable("raw_race"));
    let counts = daemon.session(BOB, &[&race.display().to_string(), &rounds()]).success();
    let counts: Vec<u64> = counts.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [right, wrong, refused] = counts[..] else { panic!("{counts:?}") };
    assert_eq!(wrong, 0, "{counts:?}");
    assert!(right > 0 && refused > 0, "{counts:?}");
}

#[test]
fn calls_that_act_for_the_daemon_or_show_others_are_refused() {
    let daemon = sessions();
    let calls = daemon.readable(&compile::executable("raw_refused")).display().to_string();
    // Bob's grant has no perf events; a buffer of a program's own needs none.
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

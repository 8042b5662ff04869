//! Attacks by commands: what is judged is what is used.

use bpfman_tests::compile;

use super::{ADA, BOB, sessions};

/// Number of loads: `make run-as-attacks` does 1,000,000.
fn rounds() -> u64 {
    std::env::var("BPFMAN_TEST_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap())
}

/// Number of loads of one session, so that each ends in time.
const OF_SESSION: u64 = 50_000;

#[test]
fn arguments_that_change_during_the_call_win_nothing() {
    let daemon = sessions();
    let race = daemon.readable(&compile::executable("raw_race")).display().to_string();
    let (mut left, mut sums) = (rounds(), [0; 3]);
    while left > 0 {
        let some = left.min(OF_SESSION);
        let counts = daemon.session(BOB, &[&race, &some.to_string()]).success();
        let counts = counts.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        left -= some;
    }
    let [right, wrong, refused] = sums;
    eprintln!("{right} of the granted type, {wrong} of another, {refused} refused");
    assert_eq!((wrong, right + refused), (0, rounds()));
    assert!(right > 0 && refused > 0, "{sums:?}");
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

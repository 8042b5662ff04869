//! Attacks by commands: what is judged is what is used.

use bpfman_tests::compile;

use super::{BOB, sessions};

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

//! Random schedules of events on a machine: changes by clients, failing calls, kills at any step, reboots, interfaces
//! and namespaces that come and go, and third-party changes. After each event exactly the acknowledged state exists.
//!
//! A failing schedule is reduced and printed with its seed: `SIMULATE_SEED=SEED` plays it alone.
//! `SIMULATE_SCHEDULES=COUNT` plays more than CI does (`make simulate`), from the seed `SIMULATE_FROM` on. Two clients
//! at once run on two threads, so that the result may vary.

mod asked;
mod machine;
mod schedule;

use std::cell::Cell;

use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::machine::{Machine, Tally};
use self::schedule::{Event, schedule};

const SCHEDULES: u64 = 250;

fn play(events: &[Event]) -> Result<Tally, String> {
    let mut machine = Machine::new();
    for (at, event) in events.iter().enumerate() {
        machine =
            machine.happens(*event).map_err(|broken| format!("event {}, {event:?}: {broken}", at + 1))?;
    }
    machine.taken_down()
}

fn run(seed: u64) -> Result<Tally, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tree = schedule().new_tree(&mut runner).map_err(|error| error.to_string())?;
    let tally = Cell::new(Tally::default());
    let played = runner.run_one(tree, |events| {
        tally.set(play(&events).map_err(TestCaseError::fail)?);
        Ok(())
    });
    match played {
        Ok(_) => Ok(tally.get()),
        Err(TestError::Fail(why, least)) => Err(format!(
            "seed {seed} breaks a promise: {why}\nthe least that does:\n{}",
            least.iter().map(|event| format!("    {event:?}\n")).collect::<String>()
        )),
        Err(TestError::Abort(why)) => Err(format!("seed {seed}: {why}")),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn quarter(number_of: u64) {
    let seeds: Vec<u64> = match number("SIMULATE_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("SIMULATE_FROM").unwrap_or(0) / 4;
            let count = number("SIMULATE_SCHEDULES").unwrap_or(4 * SCHEDULES) / 4;
            (first..first + count).map(|n| 4 * n + number_of).collect()
        }
    };
    let mut all = Tally::default();
    for seed in &seeds {
        let tally = run(*seed).unwrap_or_else(|broken| panic!("{broken}"));
        all.acknowledged += tally.acknowledged;
        all.refused += tally.refused;
        all.undone += tally.undone;
        all.finished += tally.finished;
    }
    println!("{} schedules: {all:?}", seeds.len());
    // Schedules without effects would prove nothing.
    let happened = [all.acknowledged, all.refused, all.undone, all.finished];
    assert!(seeds.len() < 100 || happened.iter().all(|count| *count > 0), "{all:?}");
}

#[test]
fn schedules_of_seeds_divisible_by_four_keep_what_was_promised() {
    quarter(0);
}

#[test]
fn schedules_of_seeds_with_remainder_one_keep_what_was_promised() {
    quarter(1);
}

#[test]
fn schedules_of_seeds_with_remainder_two_keep_what_was_promised() {
    quarter(2);
}

#[test]
fn schedules_of_seeds_with_remainder_three_keep_promises() {
    quarter(3);
}

//! kill -9 at random moments: what was acknowledged is there, and batches are whole.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bpfmand_store::{Batch, EngineKind, Store, Table};

use crate::fixture::{Chance, OpenOrPanic, on_each_engine, options};

const LEFT: Table = Table("left");
const RIGHT: Table = Table("right");
const FOLDER: &str = "STORE_CRASH_FOLDER";
const ENGINE: &str = "STORE_CRASH_ENGINE";
/// Small, so that every round trims as well.
const JOURNAL: u64 = 20;
const ROUNDS: usize = 80;

on_each_engine!(killed_at_random_it_keeps_what_it_acknowledged);

/// The number of the newest batch, having checked that it and its forerunners are there whole.
fn newest_whole_batch(store: &Store) -> u64 {
    let snapshot = store.load().unwrap();
    let left: Vec<_> = snapshot.table(LEFT).collect();
    let right: Vec<_> = snapshot.table(RIGHT).collect();
    assert_eq!(left, right, "half a batch");
    let numbers = left.iter().map(|(_, value)| u64::from_le_bytes(value[..8].try_into().unwrap()));
    let newest = numbers.clone().max().unwrap_or(0);
    for number in numbers {
        assert!(newest - number < 8, "batch {number} is there and one of the seven after it is not");
    }
    let journal = store.journal(0, 1000).unwrap();
    assert_eq!(journal.last().map_or(0, |entry| entry.number + 1), newest);
    assert!(journal.len() as u64 == newest.min(JOURNAL));
    newest
}

fn open(folder: &Path, kind: EngineKind) -> Store {
    options(folder, kind).journal_limit(JOURNAL).open_or_panic()
}

#[test]
#[ignore = "the process that the tests here kill"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open(folder.as_ref(), std::env::var(ENGINE).unwrap().parse().unwrap());
    let mut number = newest_whole_batch(&store);
    loop {
        number += 1;
        let mut value = number.to_le_bytes().to_vec();
        value.resize(100 + number as usize % 1900, 7);
        let key = (number % 8).to_le_bytes();
        let mut batch = Batch::new();
        batch.put(LEFT, &key, value.clone()).put(RIGHT, &key, value).journal(number.to_le_bytes().to_vec());
        store.commit(batch).unwrap();
        println!("acknowledged {number}");
        std::io::stdout().flush().unwrap();
    }
}

fn killed_at_random_it_keeps_what_it_acknowledged(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::new("crash");
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        // Some rounds never get beyond opening; the first ones are killed while creating.
        let lines = if round % 4 == 0 { 0 } else { 1 + chance.below(25) };
        let spin = Duration::from_micros(chance.below(if lines == 0 { 12_000 } else { 600 }) as u64);
        acknowledged = acknowledged.max(run_and_kill(folder.path(), kind, lines, spin));
        if round % 2 == 0 {
            // Otherwise the next child is the first to open what this one left.
            let newest = newest_whole_batch(&open(folder.path(), kind));
            assert!(
                newest >= acknowledged,
                "batch {acknowledged} was acknowledged, {newest} is the last one there"
            );
        }
    }
    let newest = newest_whole_batch(&open(folder.path(), kind));
    assert!(newest >= acknowledged && acknowledged > 50, "{newest} of {acknowledged}");
}

/// The last number the child acknowledged before it was killed.
fn run_and_kill(folder: &Path, kind: EngineKind, lines: usize, spin: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(ENGINE, kind.name())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: &str| line.strip_prefix("acknowledged ").map(|number| number.parse::<u64>().unwrap());
    let mut last = 0;
    let mut seen = 0;
    while seen < lines {
        let Some(line) = output.next() else { break };
        if let Some(number) = number(&line.unwrap()) {
            (last, seen) = (number, seen + 1);
        }
    }
    let until = Instant::now() + spin;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    let rest = output.filter_map(|line| number(&line.unwrap())).last();
    let finished = child.wait_with_output().unwrap();
    assert_eq!(
        finished.status.code(),
        None,
        "it ended by itself: {}",
        String::from_utf8_lossy(&finished.stderr)
    );
    rest.unwrap_or(last)
}

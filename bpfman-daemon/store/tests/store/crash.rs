//! kill -9 at random moments: acknowledged commits are there, and batches are complete.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bpfmand_store::{Batch, EngineKind, MAX_SHARED, Store, Table};

use crate::fixture::{Chance, OpenOrPanic, on_each_engine, options};

const LEFT: Table = Table("left");
const RIGHT: Table = Table("right");
const LARGE: Table = Table("large");
/// Number of records: more than fit in one write that callers share.
const MANY: u32 = 3 * MAX_SHARED as u32 / 2 / 1600;
const FOLDER: &str = "STORE_CRASH_FOLDER";
const ENGINE: &str = "STORE_CRASH_ENGINE";
const BATCHES: &str = "STORE_CRASH_BATCHES";
/// Small, so that every round also trims.
const JOURNAL: u64 = 20;
const ROUNDS: usize = 80;
const LARGE_ROUNDS: usize = 8;

on_each_engine!(
    killed_at_random_it_keeps_what_it_acknowledged,
    killed_in_large_batches_it_holds_them_whole_or_not_at_all
);

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
    if std::env::var(BATCHES).is_ok_and(|batches| batches == "large") {
        let mut number = newest_large_batch(&store);
        loop {
            number += 1;
            store.commit(large_batch(number)).unwrap();
            println!("acknowledged {number}");
            std::io::stdout().flush().unwrap();
        }
    }
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
        // Some rounds never get beyond opening; the first ones are killed during creation.
        let lines = if round % 4 == 0 { 0 } else { 1 + chance.below(25) };
        let spin = Duration::from_micros(chance.below(if lines == 0 { 12_000 } else { 600 }) as u64);
        acknowledged = acknowledged.max(run_and_kill(folder.path(), kind, "small", lines, spin));
        if round % 2 == 0 {
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

fn large_batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    for key in 0..MANY {
        let mut value = number.to_le_bytes().to_vec();
        value.resize(1600, key as u8);
        batch.put(LARGE, &key.to_be_bytes(), value);
    }
    batch
}

fn newest_large_batch(store: &Store) -> u64 {
    let snapshot = store.load().unwrap();
    let numbers = snapshot.table(LARGE).map(|(_, value)| u64::from_le_bytes(value[..8].try_into().unwrap()));
    let numbers: Vec<u64> = numbers.collect();
    let newest = numbers.first().copied().unwrap_or(0);
    assert!(numbers.is_empty() || numbers.len() == MANY as usize, "half a batch");
    assert!(numbers.iter().all(|number| *number == newest), "two halves of batches");
    newest
}

fn killed_in_large_batches_it_holds_them_whole_or_not_at_all(kind: EngineKind) {
    let folder = crate::fixture::quick_folder();
    let mut chance = Chance::new("large batches");
    let mut acknowledged = 0;
    for _ in 0..LARGE_ROUNDS {
        let spin = Duration::from_micros(chance.below(400_000) as u64);
        let lines = 1 + chance.below(2);
        acknowledged = acknowledged.max(run_and_kill(folder.path(), kind, "large", lines, spin));
        let newest = newest_large_batch(&open(folder.path(), kind));
        assert!(
            newest >= acknowledged,
            "batch {acknowledged} was acknowledged, {newest} is the last one there"
        );
        acknowledged = newest;
    }
    assert!(acknowledged >= LARGE_ROUNDS as u64);
}

fn run_and_kill(folder: &Path, kind: EngineKind, batches: &str, lines: usize, spin: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(ENGINE, kind.name())
        .env(BATCHES, batches)
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

//! redb on a simulated disk: power loss during commits, and temporary I/O errors.

use bpfmand_store::{Batch, CommitOutcome, EngineKind, StorageError, Store, StoreError, Table};

use crate::failing_disk::Disk;
use crate::fixture::{Chance, OpenOrPanic, options, quick_folder};

const LEFT: Table = Table("left");
const RIGHT: Table = Table("right");
const ROUNDS: usize = 400;

fn open(folder: &std::path::Path, disk: &Disk) -> Store {
    let disk = disk.clone();
    options(folder, EngineKind::Redb).engine_from(move || disk.engine()).open_or_panic()
}

fn write(store: &Store, number: u64) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    let value = number.to_le_bytes().repeat(1 + number as usize % 90);
    let key = (number % 6).to_le_bytes();
    batch.put(LEFT, &key, value.clone()).put(RIGHT, &key, value).journal(number.to_le_bytes().to_vec());
    store.commit(batch)
}

fn newest(store: &Store) -> u64 {
    let snapshot = store.load().unwrap();
    assert!(snapshot.table(LEFT).eq(snapshot.table(RIGHT)), "half a batch");
    let newest = store.journal_range().end;
    let largest =
        snapshot.table(LEFT).map(|(_, value)| u64::from_le_bytes(value[..8].try_into().unwrap())).max();
    assert_eq!(largest.unwrap_or(0), newest);
    newest
}

#[test]
fn redb_keeps_what_it_acknowledged_when_power_is_lost() {
    let mut chance = Chance::new("power loss");
    let (mut with, mut without) = (0, 0);
    for _ in 0..ROUNDS {
        let folder = quick_folder();
        let mut disk = Disk::default();
        let mut acknowledged = 0;
        for _ in 0..3 {
            let store = open(folder.path(), &disk);
            let found = newest(&store);
            assert!(found >= acknowledged, "batch {acknowledged} was acknowledged, {found} is there");
            (with, without) = if found > acknowledged { (with + 1, without) } else { (with, without + 1) };
            acknowledged = found;
            disk.fail(chance.below(120), usize::MAX);
            while write(&store, acknowledged + 1).is_ok() {
                acknowledged += 1;
            }
            drop(store);
            disk = disk.after_power_loss(&mut chance);
        }
    }
    println!("{with} times the unfinished batch was there, {without} times not");
}

#[test]
fn store_knows_its_contents_and_continues_after_an_io_error() {
    let mut applied = 0;
    for after in 0..60 {
        let (folder, disk) = (quick_folder(), Disk::default());
        let store = open(folder.path(), &disk);
        write(&store, 1).unwrap();
        disk.fail(after, 1);
        let mut number = 1;
        let failed = loop {
            match write(&store, number + 1) {
                Ok(()) => number += 1,
                Err(StoreError::NotSaved { outcome, source }) => break (outcome, source),
                Err(other) => panic!("{other}"),
            }
            assert!(number < 100, "the error never came");
        };
        let StorageError::Io { source, .. } = &*failed.1 else { panic!("{}", failed.1) };
        assert_eq!(source.raw_os_error(), Some(5), "{source}");
        let expected = match failed.0 {
            CommitOutcome::NotApplied => number,
            CommitOutcome::Applied => {
                applied += 1;
                number + 1
            }
            CommitOutcome::Unknown => panic!("the disk works again"),
        };
        assert_eq!(newest(&store), expected);
        write(&store, expected + 1).unwrap();
        assert_eq!(newest(&store), expected + 1);
    }
    println!("{applied} of 60 failed commits were found applied");
}

#[test]
fn failing_disk_acknowledges_nothing_and_the_store_recovers() {
    let (folder, disk) = (quick_folder(), Disk::default());
    let store = open(folder.path(), &disk);
    write(&store, 1).unwrap();
    disk.fail(0, usize::MAX);
    for _ in 0..3 {
        let error = write(&store, 2).unwrap_err();
        assert!(matches!(error, StoreError::NotSaved { .. }), "{error}");
    }
    disk.fail(0, 0);
    let before = newest(&store);
    write(&store, before + 1).unwrap();
    drop(store);
    assert_eq!(newest(&open(folder.path(), &disk)), before + 1);
}

#[test]
fn a_commit_costs_one_sync() {
    let (folder, disk) = (quick_folder(), Disk::default());
    let store = open(folder.path(), &disk);
    write(&store, 1).unwrap();
    let before = disk.syncs();
    (2..102).for_each(|number| write(&store, number).unwrap());
    assert_eq!(disk.syncs() - before, 100);
}

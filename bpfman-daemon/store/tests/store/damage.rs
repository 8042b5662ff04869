//! Flipped bytes and truncated files: the right data or a clear error, never wrong data, never a panic.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bpfmand_store::{Batch, EngineKind, JournalEntry, Snapshot, Store, Table};

use crate::fixture::{Chance, on_each_engine, open, options, quick_folder};
use crate::opening::copy;

const RECORDS: Table = Table("records");
const TRIALS: usize = 300;

on_each_engine!(damaged_after_a_clean_stop, damaged_after_a_crash);

fn fill(store: &Store) -> (Snapshot, Vec<JournalEntry>) {
    for n in 0..60u8 {
        let mut batch = Batch::new();
        batch.put(RECORDS, &[n % 40], vec![n; 40 + usize::from(n) * 20]).journal(vec![n; 60]);
        store.commit(batch).unwrap();
    }
    (store.load().unwrap(), store.journal(0, 1000).unwrap())
}

fn damaged_after_a_clean_stop(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let expected = fill(&store);
    drop(store);
    damage_copies(folder.path(), kind, &expected);
}

fn damaged_after_a_crash(kind: EngineKind) {
    let (folder, crashed) = (quick_folder(), quick_folder());
    let store = open(folder.path(), kind);
    let expected = fill(&store);
    // The files of an open store are those that kill -9 leaves.
    copy(folder.path(), crashed.path());
    drop(store);
    damage_copies(crashed.path(), kind, &expected);
}

fn damage_copies(original: &Path, kind: EngineKind, expected: &(Snapshot, Vec<JournalEntry>)) {
    let mut chance = Chance::new("damage");
    let (mut right, mut refused) = (0, 0);
    for trial in 0..TRIALS {
        let folder = quick_folder();
        copy(original, folder.path());
        let what = damage(folder.path(), &mut chance);
        let read = catch_unwind(AssertUnwindSafe(|| read_and_go_on(folder.path(), kind, expected)));
        match read.unwrap_or_else(|_| panic!("trial {trial}, {what}: a panic got through, or wrong data")) {
            Ok(()) => right += 1,
            Err(error) => {
                assert!(
                    error.to_string().contains(&*folder.path().to_string_lossy()),
                    "{what}: {error} names no file"
                );
                refused += 1;
            }
        }
    }
    println!("{kind}: {right} of {TRIALS} gave the right data, {refused} a clear error");
}

fn read_and_go_on(
    folder: &Path,
    kind: EngineKind,
    (records, journal): &(Snapshot, Vec<JournalEntry>),
) -> Result<(), bpfmand_store::StoreError> {
    let store = Store::open(options(folder, kind))?;
    assert_eq!(&store.load()?, records, "silently wrong records");
    assert_eq!(&store.journal(0, 1000)?, journal, "silently wrong journal");
    let mut batch = Batch::new();
    batch.put(RECORDS, b"one more", vec![1; 3000]).delete(RECORDS, &[3]);
    store.commit(batch)?;
    let after = store.load()?;
    drop(store);
    assert_eq!(Store::open(options(folder, kind))?.load()?, after, "wrong after going on");
    Ok(())
}

fn damage(folder: &Path, chance: &mut Chance) -> String {
    let files = files_below(folder);
    let file = &files[chance.below(files.len())];
    let length = fs::metadata(file).unwrap().len() as usize;
    let handle = OpenOptions::new().read(true).write(true).open(file).unwrap();
    if chance.below(4) == 0 {
        let keep = chance.below(length);
        handle.set_len(keep as u64).unwrap();
        return format!("{} cut from {length} to {keep}", file.display());
    }
    let used: Vec<usize> =
        fs::read(file).unwrap().iter().enumerate().filter(|(_, b)| **b != 0).map(|(at, _)| at).collect();
    let at = match chance.below(4) {
        0 => chance.below(length),
        1 => chance.below(length.min(320)),
        _ => used[chance.below(used.len())],
    };
    let mut byte = [0];
    handle.read_exact_at(&mut byte, at as u64).unwrap();
    handle.write_all_at(&[byte[0] ^ (1 << chance.below(8))], at as u64).unwrap();
    format!("{} flipped at {at} of {length}", file.display())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if fs::metadata(&path).unwrap().len() > 0 && path.file_name().unwrap() != "lock" {
            files.push(path);
        }
    }
    files.sort();
    files
}

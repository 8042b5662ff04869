//! A full disk: acknowledged commits stay, others are refused, and everything works again with free space.

use std::fs;
use std::path::Path;
use std::process::Command;

use bpfmand_store::{Batch, CommitOutcome, EngineKind, StorageError, Store, StoreError, Table};

use crate::fixture::{OpenOrPanic, on_each_engine, open, options};

const RECORDS: Table = Table("records");
const FOLDER: &str = "STORE_FULL_FOLDER";
const ENGINE: &str = "STORE_FULL_ENGINE";

on_each_engine!(a_full_disk_loses_nothing_and_is_reported);

fn a_full_disk_loses_nothing_and_is_reported(kind: EngineKind) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg("mount -t tmpfs -o size=6m small \"$0\" && exec \"$@\"")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["disk_full::child", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(ENGINE, kind.name())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("went on"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
}

fn put(store: &Store, number: u32) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch
        .put(RECORDS, &number.to_be_bytes(), vec![number as u8; 4000])
        .journal(number.to_be_bytes().to_vec());
    store.commit(batch)
}

#[test]
#[ignore = "the process that the tests here start on a small file system"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let kind: EngineKind = std::env::var(ENGINE).unwrap().parse().unwrap();
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let state = folder.join("state");
    let store = open(&state, kind);
    let mut acknowledged = 0;
    let error = loop {
        match put(&store, acknowledged) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 5000, "the disk never filled up");
    };
    println!("{acknowledged} records, then: {error}");
    let StoreError::NotSaved { outcome, source } = error else { panic!("{error}") };
    let StorageError::Io { source: refused, .. } = &*source else { panic!("{source}") };
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull, "{source}");
    if kind == EngineKind::Redb {
        assert_eq!(outcome, CommitOutcome::NotApplied);
        assert_eq!(store.load().unwrap().len() as u32, acknowledged, "readable while the disk is full");
    }
    drop(store);
    match Store::open(options(&state, kind)) {
        Ok(store) => assert!(store.load().unwrap().len() as u32 >= acknowledged),
        Err(error) => println!("while full it does not open: {error}"),
    }
    fs::remove_file(ballast).unwrap();
    let store = options(&state, kind).open_or_panic();
    let snapshot = store.load().unwrap();
    for number in 0..acknowledged {
        assert_eq!(snapshot.get(RECORDS, &number.to_be_bytes()), Some(&vec![number as u8; 4000][..]));
    }
    put(&store, acknowledged).unwrap();
    println!("went on with record {acknowledged}");
}

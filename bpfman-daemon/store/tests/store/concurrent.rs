use std::thread;

use bpfmand_store::{Batch, EngineKind, Store, StoreError, Table};

use crate::fixture::{on_each_engine, open, options, quick_folder};

const RECORDS: Table = Table("records");

on_each_engine!(commits_from_many_threads_are_all_there, second_opener_gets_the_holder_of_the_folder);

fn commits_from_many_threads_are_all_there(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    write_from_eight_threads(&store);
    drop(store);
    assert_eq!(open(folder.path(), kind).load().unwrap().len(), 8 * 40);
}

fn write_from_eight_threads(store: &Store) {
    thread::scope(|scope| {
        for writer in 0..8u8 {
            scope.spawn(move || {
                for n in 0..40u8 {
                    let mut batch = Batch::new();
                    batch.put(RECORDS, &[writer, n], vec![n; 300]).journal(vec![writer, n]);
                    store.commit(batch).unwrap();
                }
            });
        }
    });
    let entries = store.journal(0, 1000).unwrap();
    for writer in 0..8u8 {
        let own = entries.iter().filter(|entry| entry.entry[0] == writer).map(|entry| entry.entry[1]);
        assert!(own.eq(0..40u8), "one caller's entries are in the order of its calls");
    }
}

fn second_opener_gets_the_holder_of_the_folder(kind: EngineKind) {
    let folder = quick_folder();
    let first = open(folder.path(), kind);
    let clone = first.clone();
    drop(first);
    let refused = Store::open(options(folder.path(), kind)).unwrap_err();
    match &refused {
        StoreError::Locked { folder: named, pid } => {
            assert_eq!((named.as_path(), *pid), (folder.path(), Some(std::process::id())));
        }
        other => panic!("{other}"),
    }
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    drop(clone);
    open(folder.path(), kind);
}

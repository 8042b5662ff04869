use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::engine::{EngineWrite, StorageEngine, Visit};
use crate::{StorageError, Table};

const RECORDS: Table = Table("records");

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Damage = fn(&mut Entries, Entries);

/// Commits wait at a gate, are counted, and panic on demand.
#[derive(Clone, Default)]
struct Gated(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Default)]
struct Inside {
    entries: Entries,
    shut: bool,
    at_gate: usize,
    commits: usize,
    panics: bool,
}

impl Gated {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.0.lock().unwrap()
    }

    fn set_shut(&self, shut: bool) {
        self.inside().shut = shut;
        self.0.1.notify_all();
    }

    fn open_store(&self, folder: &Path) -> Store {
        let engine = self.clone();
        Store::open(StoreOptions::new(folder, 1).engine_from(move || Ok(Box::new(engine.clone())))).unwrap()
    }
}

impl StorageEngine for Gated {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.inside().entries.get(key).cloned())
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        for (key, value) in self.inside().entries.range(from.to_vec()..until.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError> {
        let mut inside = self.inside();
        inside.at_gate += 1;
        inside = self.0.1.wait_while(inside, |inside| inside.shut).unwrap();
        inside.at_gate -= 1;
        if std::mem::take(&mut inside.panics) {
            drop(inside);
            panic!("as asked");
        }
        inside.commits += 1;
        for (key, value) in changes {
            match value {
                Some(value) => drop(inside.entries.insert(key.clone(), value.clone())),
                None => drop(inside.entries.remove(key)),
            }
        }
        Ok(())
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn put(store: &Store, key: u8) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put(RECORDS, &[key], vec![key]);
    store.commit(batch)
}

#[test]
fn callers_that_wait_together_share_one_write() {
    let (folder, engine) = (tempfile::tempdir().unwrap(), Gated::default());
    let store = engine.open_store(folder.path());
    let before = engine.inside().commits;
    engine.set_shut(true);
    thread::scope(|scope| {
        scope.spawn(|| put(&store, 0).unwrap());
        until("the first is writing", || engine.inside().at_gate == 1);
        for key in 1..8 {
            let store = &store;
            scope.spawn(move || put(store, key).unwrap());
        }
        until("the others wait", || store.queue().waiting.len() == 7);
        engine.set_shut(false);
    });
    assert_eq!(engine.inside().commits - before, 2, "one for the first, one for the seven");
    assert_eq!(store.load().unwrap().len(), 8);
}

#[test]
fn panic_in_the_backend_becomes_an_error_and_the_store_works_on() {
    let (folder, engine) = (tempfile::tempdir().unwrap(), Gated::default());
    let store = engine.open_store(folder.path());
    put(&store, 1).unwrap();
    engine.inside().panics = true;
    let error = put(&store, 2).unwrap_err();
    assert!(error.to_string().contains("panicked: as asked"), "{error}");
    put(&store, 3).unwrap();
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.table(RECORDS).map(|(key, _)| key[0]).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn lost_altered_and_restored_records_are_found_in_any_backend() {
    let damages: [(&str, Damage); 5] = [
        ("a record lost", |now, _| drop(now.remove(&b"rrecords\0\x01"[..]))),
        ("a record as it was before", |now, old| {
            now.insert(b"rrecords\0\x02".to_vec(), old[&b"rrecords\0\x02"[..]].clone());
        }),
        ("a deleted record back", |now, old| {
            now.insert(b"rrecords\0\x03".to_vec(), old[&b"rrecords\0\x03"[..]].clone());
        }),
        ("a journal entry lost", |now, _| drop(now.remove(&b"j\0\0\0\0\0\0\0\x01"[..]))),
        ("all as it was before", |now, old| *now = old),
    ];
    for (what, damage) in damages {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Gated::default());
        let store = engine.open_store(folder.path());
        for n in 1..4 {
            put(&store, n).unwrap();
        }
        let old = engine.inside().entries.clone();
        let mut batch = Batch::new();
        batch.put(RECORDS, &[2], vec![22]).delete(RECORDS, &[3]);
        (0..3).for_each(|n| {
            batch.journal(vec![n]);
        });
        store.commit(batch).unwrap();
        drop(store);
        damage(&mut engine.inside().entries, old);
        let opened = Store::open(StoreOptions::new(folder.path(), 1).engine_from({
            let engine = engine.clone();
            move || Ok(Box::new(engine.clone()))
        }));
        let error = opened.err().unwrap_or_else(|| panic!("not seen: {what}"));
        assert!(
            matches!(error, StoreError::Damaged { .. } | StoreError::LostCommits { .. }),
            "{what}: {error}"
        );
    }
}

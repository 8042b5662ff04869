use bpfmand_store::{Batch, EngineKind, MAX_KEY, MAX_SHARED, MAX_VALUE, Store, StoreError, Table};

use crate::fixture::{OpenOrPanic, on_each_engine, open, options, quick_folder};

const PROGRAMS: Table = Table("programs");
const LINKS: Table = Table("links");

on_each_engine!(
    a_record_is_there_until_it_is_deleted,
    a_batch_spans_tables_and_the_last_change_of_a_key_wins,
    tables_with_common_beginnings_are_apart,
    the_journal_keeps_its_order_and_its_numbers,
    the_journal_is_trimmed_at_the_front,
    everything_is_there_after_reopening,
    empty_keys_and_values_and_awkward_bytes_are_kept,
    too_large_batch_is_refused_without_writing,
    the_largest_of_everything_fits,
    a_batch_has_no_largest_size,
    an_empty_batch_is_no_commit,
    no_sled_value_leaves_the_log,
);

fn put(store: &Store, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(table, key, value.to_vec());
    store.commit(batch).unwrap();
}

fn a_record_is_there_until_it_is_deleted(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    assert!(store.load().unwrap().is_empty());
    put(&store, PROGRAMS, b"one", b"1");
    put(&store, PROGRAMS, b"two", b"2");
    put(&store, PROGRAMS, b"one", b"changed");
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.get(PROGRAMS, b"one"), Some(&b"changed"[..]));
    assert_eq!(snapshot.get(PROGRAMS, b"two"), Some(&b"2"[..]));
    assert_eq!(snapshot.get(LINKS, b"one"), None);
    let mut batch = Batch::new();
    batch.delete(PROGRAMS, b"one").delete(PROGRAMS, b"never there");
    store.commit(batch).unwrap();
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.table(PROGRAMS).collect::<Vec<_>>(), [(&b"two"[..], &b"2"[..])]);
}

fn a_batch_spans_tables_and_the_last_change_of_a_key_wins(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let mut batch = Batch::new();
    batch
        .put(PROGRAMS, b"p", b"first".to_vec())
        .put(LINKS, b"l", b"link".to_vec())
        .put(PROGRAMS, b"p", b"second".to_vec())
        .put(LINKS, b"gone", b"x".to_vec())
        .delete(LINKS, b"gone")
        .journal(b"did it".to_vec());
    store.commit(batch).unwrap();
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.get(PROGRAMS, b"p"), Some(&b"second"[..]));
    assert_eq!(snapshot.table(LINKS).count(), 1);
    assert_eq!(snapshot.table_names().collect::<Vec<_>>(), ["links", "programs"]);
    assert_eq!(store.journal(0, 10).unwrap()[0].entry, b"did it");
}

fn tables_with_common_beginnings_are_apart(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    put(&store, Table("a"), b"bc", b"1");
    put(&store, Table("ab"), b"c", b"2");
    put(&store, Table("ab"), b"", b"3");
    let snapshot = store.load().unwrap();
    assert_eq!(snapshot.table(Table("a")).collect::<Vec<_>>(), [(&b"bc"[..], &b"1"[..])]);
    assert_eq!(snapshot.table(Table("ab")).count(), 2);
}

fn the_journal_keeps_its_order_and_its_numbers(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    for n in 0..300u32 {
        let mut batch = Batch::new();
        batch.journal(n.to_le_bytes().to_vec());
        store.commit(batch).unwrap();
    }
    let entries = store.journal(0, usize::MAX).unwrap();
    assert_eq!(entries.len(), 300);
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!((entry.number, &entry.entry[..]), (n as u64, &(n as u32).to_le_bytes()[..]));
    }
    let part: Vec<u64> = store.journal(255, 3).unwrap().iter().map(|entry| entry.number).collect();
    assert_eq!(part, [255, 256, 257]);
    assert!(store.journal(300, 3).unwrap().is_empty());
    assert!(store.journal(0, 0).unwrap().is_empty());
}

fn the_journal_is_trimmed_at_the_front(kind: EngineKind) {
    let folder = quick_folder();
    let store = options(folder.path(), kind).journal_limit(5).open_or_panic();
    let mut batch = Batch::new();
    (0..12u8).for_each(|n| {
        batch.journal(vec![n]);
    });
    store.commit(batch).unwrap();
    assert_eq!(store.journal_range(), 7..12);
    put(&store, PROGRAMS, b"p", b"1");
    let mut batch = Batch::new();
    batch.journal(vec![12]);
    store.commit(batch).unwrap();
    let numbers: Vec<u64> = store.journal(0, 100).unwrap().iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [8, 9, 10, 11, 12]);
    store.trim_journal(2).unwrap();
    assert_eq!(store.journal_range(), 11..13);
    drop(store);
    let store = open(folder.path(), kind);
    assert_eq!(store.journal_range(), 11..13);
    store.trim_journal(0).unwrap();
    assert!(store.journal(0, 100).unwrap().is_empty());
    let mut batch = Batch::new();
    batch.journal(b"next".to_vec());
    store.commit(batch).unwrap();
    assert_eq!(store.journal(0, 100).unwrap()[0].number, 13);
}

fn everything_is_there_after_reopening(kind: EngineKind) {
    let folder = quick_folder();
    let mut expected = None;
    for round in 0..4u32 {
        let store = open(folder.path(), kind);
        if let Some((snapshot, journal)) = &expected {
            assert_eq!(&store.load().unwrap(), snapshot, "round {round}");
            assert_eq!(&store.journal(0, 1000).unwrap(), journal, "round {round}");
        }
        for n in 0..40u32 {
            let mut batch = Batch::new();
            batch
                .put(PROGRAMS, &(n * (round + 1)).to_be_bytes(), vec![round as u8; 900])
                .delete(LINKS, &n.wrapping_sub(3).to_be_bytes())
                .put(LINKS, &n.to_be_bytes(), vec![n as u8; 20])
                .journal(vec![n as u8; 100]);
            store.commit(batch).unwrap();
        }
        expected = Some((store.load().unwrap(), store.journal(0, 1000).unwrap()));
    }
}

fn empty_keys_and_values_and_awkward_bytes_are_kept(kind: EngineKind) {
    let folder = quick_folder();
    let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\xff", b"\xff\xff\xff", b"a\0b"];
    let store = open(folder.path(), kind);
    for key in keys {
        put(&store, PROGRAMS, key, b"");
    }
    drop(store);
    let snapshot = open(folder.path(), kind).load().unwrap();
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(
        snapshot.table(PROGRAMS).collect::<Vec<_>>(),
        sorted.iter().map(|k| (*k, &b""[..])).collect::<Vec<_>>()
    );
}

fn too_large_batch_is_refused_without_writing(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let refused = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        batch.put(PROGRAMS, b"with it", b"1".to_vec());
        change(&mut batch);
        store.commit(batch).unwrap_err()
    };
    let large = |error: StoreError| match error {
        StoreError::TooLarge { what, size, limit } => (what, size - limit),
        other => panic!("{other}"),
    };
    assert_eq!(
        large(refused(&|b| {
            b.put(LINKS, &[1; MAX_KEY + 1], vec![]);
        })),
        ("key", 1)
    );
    assert_eq!(
        large(refused(&|b| {
            b.put(LINKS, b"k", vec![0; MAX_VALUE + 1]);
        })),
        ("record", 1)
    );
    assert_eq!(
        large(refused(&|b| {
            b.journal(vec![0; MAX_VALUE + 1]);
        })),
        ("journal entry", 1)
    );
    for name in ["", "two words", "nul\0", "ünicode"] {
        let error = refused(&|b| {
            b.put(Table(name), b"k", vec![]);
        });
        assert!(matches!(error, StoreError::BadTableName { .. }), "{name:?}: {error}");
    }
    assert!(store.load().unwrap().is_empty());
    assert_eq!(store.journal_range(), 0..0);
}

fn the_largest_of_everything_fits(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let mut batch = Batch::new();
    for n in 0..MAX_SHARED / MAX_VALUE - 1 {
        let mut key = vec![0xee; MAX_KEY];
        key[0] = n as u8;
        batch.put(PROGRAMS, &key, vec![n as u8; MAX_VALUE]);
    }
    store.commit(batch).unwrap();
    let before = store.load().unwrap();
    assert_eq!(before.len(), MAX_SHARED / MAX_VALUE - 1);
    drop(store);
    assert_eq!(open(folder.path(), kind).load().unwrap(), before);
}

fn a_batch_has_no_largest_size(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let record = |n: u32, fill: u8| (n.to_be_bytes(), vec![fill; 1600]);
    for fill in [1, 2] {
        let mut batch = Batch::new();
        for n in 0..8 * MAX_SHARED as u32 / 1600 {
            let (key, value) = record(n, fill);
            batch.put(LINKS, &key, value);
        }
        assert!(batch.size() > 7 * MAX_SHARED);
        store.commit(batch).unwrap();
    }
    let before = store.load().unwrap();
    assert!(before.table(LINKS).all(|(_, value)| value == record(0, 2).1));
    drop(store);
    assert_eq!(open(folder.path(), kind).load().unwrap(), before);
}

fn an_empty_batch_is_no_commit(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    let acknowledged = || std::fs::read(folder.path().join("acknowledged")).unwrap();
    let before = acknowledged();
    store.commit(Batch::new()).unwrap();
    assert_eq!(acknowledged(), before);
}

fn no_sled_value_leaves_the_log(kind: EngineKind) {
    let folder = quick_folder();
    let store = open(folder.path(), kind);
    for n in 0..24u8 {
        put(&store, PROGRAMS, &[n], &vec![n; MAX_VALUE]);
    }
    drop(store);
    drop(open(folder.path(), kind));
    if kind == EngineKind::Sled {
        let outside = std::fs::read_dir(folder.path().join("records.sled/blobs")).map_or(0, Iterator::count);
        assert_eq!(outside, 0, "values in files of their own");
    }
}

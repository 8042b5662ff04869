//! Reading a sled database of another program.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use bpfmand_store::{StorageError, open_foreign_sled};

use crate::fixture::quick_folder;

#[test]
fn all_trees_of_a_foreign_database_are_read_without_changes() {
    let (source, scratch) = (quick_folder(), quick_folder());
    let db = sled::open(source.path()).unwrap();
    let program = db.open_tree("program_7").unwrap();
    program.insert("name", "filter").unwrap();
    program.insert("kind", vec![0, 0, 0, 6]).unwrap();
    db.open_tree("image_tree").unwrap().insert("digest", vec![9; 200_000]).unwrap();
    db.insert("plain", "value").unwrap();
    db.flush().unwrap();

    let busy = open_foreign_sled(source.path(), scratch.path()).unwrap_err();
    assert!(matches!(busy, StorageError::InUse { .. }), "{busy}");
    drop((program, db));
    wait_until_closed(source.path());

    let before = std::fs::read(source.path().join("db")).unwrap();
    for _ in 0..2 {
        let records: Vec<_> = open_foreign_sled(source.path(), scratch.path())
            .unwrap()
            .map(|record| record.unwrap())
            .map(|record| {
                (
                    String::from_utf8(record.tree).unwrap(),
                    String::from_utf8(record.key).unwrap(),
                    record.value.len(),
                )
            })
            .collect();
        let expected = [
            ("__sled__default", "plain", 5),
            ("image_tree", "digest", 200_000),
            ("program_7", "kind", 4),
            ("program_7", "name", 6),
        ];
        assert_eq!(records, expected.map(|(tree, key, size)| (tree.to_owned(), key.to_owned(), size)));
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the copy is gone");
    }
    assert_eq!(std::fs::read(source.path().join("db")).unwrap(), before);
}

#[test]
fn invalid_database_is_refused_by_name() {
    let (source, scratch) = (quick_folder(), quick_folder());
    let missing = open_foreign_sled(source.path(), scratch.path()).unwrap_err();
    assert!(missing.to_string().contains(&*source.path().to_string_lossy()), "{missing}");
    std::fs::write(source.path().join("db"), [0xaa; 600_000]).unwrap();
    std::fs::write(source.path().join("conf"), "nonsense that is long enough").unwrap();
    let damaged = open_foreign_sled(source.path(), scratch.path()).unwrap_err();
    assert!(damaged.to_string().contains("foreign-sled"), "{damaged}");
}

/// sled's threads may hold the log and its lock longer than the handles.
fn wait_until_closed(folder: &Path) {
    let log = File::open(folder.join("db")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(150);
    while log.try_lock().is_err() {
        assert!(Instant::now() < deadline, "sled never let go of its log");
        std::thread::yield_now();
    }
    log.unlock().unwrap();
}

//! Refused opens, and migrations.

use std::fs;

use bpfmand_store::{
    Batch, EngineKind, Migration, MigrationError, Snapshot, Store, StoreError, StoreOptions, Table,
};

use crate::fixture::{OpenOrPanic, SCHEMA, on_each_engine, open, options, quick_folder};

const RECORDS: Table = Table("records");

on_each_engine!(
    a_newer_schema_is_refused,
    older_records_are_migrated_step_by_step,
    a_migration_that_refuses_changes_nothing,
    a_vanished_database_is_not_replaced_by_an_empty_one,
    an_older_database_is_refused_until_a_person_agrees,
    incomplete_database_is_created_again,
    folders_are_made_for_the_owner_only,
);

fn put(store: &Store, key: &[u8]) {
    let mut batch = Batch::new();
    batch.put(RECORDS, key, b"value".to_vec());
    store.commit(batch).unwrap();
}

fn a_newer_schema_is_refused(kind: EngineKind) {
    let folder = quick_folder();
    drop(StoreOptions::new(folder.path(), 9).engine(kind).open_or_panic());
    let error = Store::open(options(folder.path(), kind)).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 9, supported: SCHEMA, .. }), "{error}");
    assert!(error.to_string().contains("run the newer program"), "{error}");
}

const STEPS: &[Migration] = &[
    Migration {
        from: 1,
        run: |_, batch| {
            batch.put(RECORDS, b"made by step 1", b"1".to_vec());
            Ok(())
        },
    },
    Migration { from: 2, run: rename_all },
];

fn rename_all(old: &Snapshot, batch: &mut Batch) -> Result<(), MigrationError> {
    assert_eq!(old.schema(), 2);
    for (key, value) in old.table(RECORDS) {
        batch.put(Table("renamed"), key, value.to_vec()).delete(RECORDS, key);
    }
    Ok(())
}

fn older_records_are_migrated_step_by_step(kind: EngineKind) {
    let folder = quick_folder();
    put(&open(folder.path(), kind), b"old");
    let newer = || StoreOptions::new(folder.path(), 3).engine(kind).migrations(STEPS);
    for _ in 0..2 {
        let snapshot = newer().open_or_panic().load().unwrap();
        assert_eq!(snapshot.schema(), 3);
        assert_eq!(snapshot.table_names().collect::<Vec<_>>(), ["renamed"]);
        assert_eq!(snapshot.get(Table("renamed"), b"made by step 1"), Some(&b"1"[..]));
        assert_eq!(snapshot.get(Table("renamed"), b"old"), Some(&b"value"[..]));
    }
    let without =
        Store::open(StoreOptions::new(folder.path(), 4).engine(kind).migrations(STEPS)).unwrap_err();
    assert!(matches!(without, StoreError::NoMigration { found: 3, .. }), "{without}");
}

const REFUSING: &[Migration] = &[Migration {
    from: 1,
    run: |_, batch| {
        batch.delete(RECORDS, b"old");
        Err("not this".into())
    },
}];

fn a_migration_that_refuses_changes_nothing(kind: EngineKind) {
    let folder = quick_folder();
    put(&open(folder.path(), kind), b"old");
    let error =
        Store::open(StoreOptions::new(folder.path(), 2).engine(kind).migrations(REFUSING)).unwrap_err();
    assert!(error.to_string().ends_with("from schema version 1: not this"), "{error}");
    assert_eq!(open(folder.path(), kind).load().unwrap().len(), 1);
}

#[test]
fn the_other_engines_folder_is_refused() {
    let folder = quick_folder();
    drop(open(folder.path(), EngineKind::Sled));
    let error = Store::open(options(folder.path(), EngineKind::Redb)).unwrap_err();
    assert!(error.to_string().contains("set engine = \"sled\""), "{error}");
    open(folder.path(), EngineKind::Sled);
}

fn a_vanished_database_is_not_replaced_by_an_empty_one(kind: EngineKind) {
    let folder = quick_folder();
    put(&open(folder.path(), kind), b"a");
    let path = database(folder.path(), kind);
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    let error = Store::open(options(folder.path(), kind)).unwrap_err();
    assert!(matches!(error, StoreError::LostCommits { found: 0, .. }), "{error}");
    fs::rename(folder.path().join("elsewhere"), &path).unwrap();
    assert_eq!(open(folder.path(), kind).load().unwrap().len(), 1);
}

fn an_older_database_is_refused_until_a_person_agrees(kind: EngineKind) {
    let (folder, older) = (quick_folder(), quick_folder());
    put(&open(folder.path(), kind), b"a");
    copy(folder.path(), older.path());
    put(&open(folder.path(), kind), b"b");
    fs::copy(folder.path().join("acknowledged"), older.path().join("acknowledged")).unwrap();
    let error = Store::open(options(older.path(), kind)).unwrap_err();
    assert!(matches!(error, StoreError::LostCommits { .. }), "{error}");
    assert!(error.to_string().contains("remove the file"), "{error}");
    fs::remove_file(older.path().join("acknowledged")).unwrap();
    let store = open(older.path(), kind);
    assert_eq!(store.load().unwrap().len(), 1);
    put(&store, b"c");
    drop(store);
    assert_eq!(open(older.path(), kind).load().unwrap().len(), 2);
}

fn incomplete_database_is_created_again(kind: EngineKind) {
    let folder = quick_folder();
    match kind {
        EngineKind::Redb => {
            fs::write(folder.path().join("records.redb.new"), b"redb, but not all of it").unwrap()
        }
        EngineKind::Sled => {
            fs::create_dir(folder.path().join("records.sled.new")).unwrap();
            fs::write(folder.path().join("records.sled.new/db"), [1; 700]).unwrap();
        }
    }
    put(&open(folder.path(), kind), b"a");
    assert_eq!(open(folder.path(), kind).load().unwrap().len(), 1);
}

fn folders_are_made_for_the_owner_only(kind: EngineKind) {
    use std::os::unix::fs::PermissionsExt;
    let folder = quick_folder();
    let deep = folder.path().join("not/there/yet");
    drop(open(&deep, kind));
    assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    let not_a_folder = folder.path().join("file");
    fs::write(&not_a_folder, "").unwrap();
    let error = Store::open(options(&not_a_folder, kind)).unwrap_err();
    assert!(error.to_string().contains(&*not_a_folder.to_string_lossy()), "{error}");
}

pub fn database(folder: &std::path::Path, kind: EngineKind) -> std::path::PathBuf {
    folder.join(match kind {
        EngineKind::Redb => "records.redb",
        EngineKind::Sled => "records.sled",
    })
}

pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

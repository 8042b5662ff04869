//! State on disk, the engine's belief about it, and leftovers in the kernel.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bpfman_model::{HookKind, LinkId, ProgramId, Reason};
use bpfmand_engine::{Engine, EngineOptions, SCHEMA, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_store::{Batch, EngineWrite, RedbEngine, StorageError, Store, StoreOptions, Table, Visit};

use crate::bench::{Ask as _, Bench, pins};
use crate::bytecode::{files, texts, types};
use crate::replacements::replacement;
use crate::simulated::{bench, shape};

struct Fickle {
    inner: RedbEngine,
    mood: Arc<AtomicU8>,
}

pub const WELL: u8 = 0;
const SAVE_AND_FAIL: u8 = 1;
/// Fault: the next commit fails, and the database cannot be opened again.
pub const BREAK: u8 = 2;
const BROKEN: u8 = 3;
/// Fault: the commit is saved, but fails, and the database cannot be opened again.
const SAVE_AND_BREAK: u8 = 4;

fn refusal() -> StorageError {
    StorageError::Refused { doing: "testing", path: "disk".into(), why: "it is to fail".to_owned() }
}

impl bpfmand_store::StorageEngine for Fickle {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.read(key)
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), StorageError> {
        self.inner.scan(from, until, visit)
    }

    fn commit(&mut self, changes: &[EngineWrite]) -> Result<(), StorageError> {
        match self.mood.load(Ordering::SeqCst) {
            SAVE_AND_FAIL => {
                self.mood.store(WELL, Ordering::SeqCst);
                self.inner.commit(changes)?;
                Err(refusal())
            }
            BREAK => {
                self.mood.store(BROKEN, Ordering::SeqCst);
                Err(refusal())
            }
            SAVE_AND_BREAK => {
                self.mood.store(BROKEN, Ordering::SeqCst);
                self.inner.commit(changes)?;
                Err(refusal())
            }
            _ => self.inner.commit(changes),
        }
    }
}

fn fickle(bench: &Bench<SimKernel>) -> (Engine<SimKernel>, Arc<AtomicU8>) {
    let mood = Arc::new(AtomicU8::new(WELL));
    let engine = Engine::open(Arc::clone(&bench.kernel), fickle_options(bench, &mood)).unwrap();
    assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
    (engine, mood)
}

pub fn fickle_options<K: bpfmand_kernel::Kernel>(bench: &Bench<K>, mood: &Arc<AtomicU8>) -> EngineOptions {
    let (path, shared) = (bench.folder.path().join("fickle.redb"), Arc::clone(mood));
    let open = move || -> Result<Box<dyn bpfmand_store::StorageEngine>, StorageError> {
        match shared.load(Ordering::SeqCst) {
            BROKEN => Err(refusal()),
            _ => Ok(Box::new(Fickle { inner: RedbEngine::open(&path)?, mood: Arc::clone(&shared) })),
        }
    };
    let store =
        Store::open(StoreOptions::new(bench.folder.path().join("fickle"), SCHEMA).engine_from(open)).unwrap();
    EngineOptions::new(bench.folder.path().join("bytecode"), store)
}

#[test]
fn a_change_that_was_saved_after_all_has_happened() {
    let bench = bench();
    let (engine, mood) = fickle(&bench);
    mood.store(SAVE_AND_FAIL, Ordering::SeqCst);
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    mood.store(SAVE_AND_FAIL, Ordering::SeqCst);
    let link = engine.attached(alpha, bench.xdp(1));
    let (before, links) = (shape(&bench.kernel.snapshot()), engine.all_links());
    drop(engine);
    let (engine, mood) = fickle(&bench);
    assert_eq!((shape(&bench.kernel.snapshot()), engine.all_links()), (before, links));
    mood.store(SAVE_AND_FAIL, Ordering::SeqCst);
    engine.detach(link).unwrap();
    mood.store(SAVE_AND_FAIL, Ordering::SeqCst);
    engine.unload(alpha).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

#[test]
fn no_change_while_the_state_on_disk_is_unknown() {
    let bench = bench();
    let (engine, mood) = fickle(&bench);
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    let before = bench.kernel.snapshot();
    mood.store(BREAK, Ordering::SeqCst);
    let error = engine.try_attach(bravo, bench.xdp(2)).unwrap_err();
    assert!(error.hint().unwrap().to_string().contains("restart"), "{error}");
    bench.kernel.note_calls();
    for error in [
        engine.try_attach(bravo, bench.xdp(2)).unwrap_err(),
        engine.detach(link).unwrap_err(),
        engine.unload(alpha).unwrap_err(),
        engine.load(&bench.request("programs", &["alpha"])).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Reason::Internal);
        assert!(error.hint().unwrap().to_string().contains("restart"), "{error}");
    }
    assert_eq!(bench.kernel.calls(), Vec::<&str>::new(), "refused before anything is tried");
    assert_eq!(shape(&bench.kernel.snapshot()), shape(&before));
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha"]);
    drop(engine);
    let (engine, _) = fickle(&bench);
    engine.attached(bravo, bench.xdp(2));
}

/// The operation returned an error: its commit does not count even if it reached the disk.
#[test]
fn with_a_disk_that_works_again_changes_go_on_without_a_restart() {
    for accident in [BREAK, SAVE_AND_BREAK] {
        let bench = bench();
        let (engine, mood) = fickle(&bench);
        let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else {
            panic!()
        };
        let first = engine.attached(alpha, bench.xdp(1));
        type Try = fn(&Bench<SimKernel>, &Engine<SimKernel>, (ProgramId, ProgramId, LinkId));
        let tries: [Try; 5] = [
            |bench, engine, _| drop(engine.load(&bench.request("programs", &["charlie"])).unwrap_err()),
            |bench, engine, (_, bravo, _)| drop(engine.try_attach(bravo, bench.xdp(0)).unwrap_err()),
            |_, engine, (.., link)| drop(engine.detach(link).unwrap_err()),
            |bench, engine, (alpha, ..)| {
                drop(engine.replace_program(&replacement(bench, alpha, "second")).unwrap_err());
            },
            |_, engine, (alpha, ..)| drop(engine.unload(alpha).unwrap_err()),
        ];
        for (at, change) in tries.into_iter().enumerate() {
            let before = (shape(&bench.kernel.snapshot()), engine.all_links(), engine.ids());
            mood.store(accident, Ordering::SeqCst);
            change(&bench, &engine, (alpha, bravo, first));
            assert_eq!(engine.unload(bravo).unwrap_err().kind(), Reason::Internal, "try {at}: still broken");
            mood.store(WELL, Ordering::SeqCst);
            engine.check_all();
            assert_eq!(
                (shape(&bench.kernel.snapshot()), engine.all_links(), engine.ids()),
                before,
                "try {at}"
            );
            let second = engine.attached(bravo, bench.xdp(2));
            engine.detach(second).unwrap();
        }
        let kept = (files(&bench).len(), texts(&bench).len(), types(&bench).len());
        assert_eq!(kept, (1, 2, 1), "bytecode of what has not happened is gone");
        let (before, links, ids) = (shape(&bench.kernel.snapshot()), engine.all_links(), engine.ids());
        drop(engine);
        let (engine, _) = fickle(&bench);
        assert_eq!((shape(&bench.kernel.snapshot()), engine.all_links(), engine.ids()), (before, links, ids));
        engine.unload(alpha).unwrap();
        engine.unload(bravo).unwrap();
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    }
}

#[test]
fn numbers_of_records_are_never_given_again() {
    let bench = bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attached(alpha, bench.xdp(1));
    drop(engine);
    {
        // State after two commits at the end of the reserved numbers, written in reverse order.
        let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
        let mut batch = Batch::new();
        batch.put(Table("meta"), b"counter", b"1".to_vec());
        store.commit(batch).unwrap();
    }
    let engine = bench.engine();
    let next = engine.attached(alpha, bench.xdp(1));
    assert!(next > link, "{next} after {link}");
    assert_eq!(engine.all_links().len(), 2);
}

/// Blocks the first operation that reaches a record, for a while or until the second one arrives.
#[derive(Default)]
struct Meeting {
    came: Mutex<usize>,
    changed: Condvar,
}

impl StepObserver for Meeting {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("unload", "record") {
            let mut came = self.came.lock().unwrap();
            *came += 1;
            self.changed.notify_all();
            drop(
                self.changed.wait_timeout_while(came, Duration::from_millis(300), |came| *came < 2).unwrap(),
            );
        }
    }
}

#[derive(Default)]
struct Between {
    recorded: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl StepObserver for Between {
    fn before(&self, operation: &'static str, step: &'static str) {
        if let ("load" | "replace", "move into place") = (operation, step) {
            let mut recorded = self.recorded.lock().unwrap();
            recorded.0 = true;
            self.changed.notify_all();
            // The other call waits for the end of this load, or has already been refused.
            drop(
                self.changed
                    .wait_timeout_while(recorded, Duration::from_millis(300), |(_, over)| !*over)
                    .unwrap(),
            );
        }
    }
}

#[test]
fn a_program_that_is_listed_already_is_unloaded_whole() {
    for replaced in [false, true] {
        let bench = bench();
        let between = Arc::new(Between::default());
        let engine = bench.engine();
        let old = if replaced { engine.loads(&bench.request("programs", &["alpha"])) } else { Vec::new() };
        drop(engine);
        let engine = bench.watched(Arc::clone(&between) as Arc<dyn StepObserver>);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let recorded = between.recorded.lock().unwrap();
                drop(between.changed.wait_while(recorded, |(recorded, _)| !*recorded).unwrap());
                let listed = engine.ids().into_iter().find(|id| !old.contains(id)).unwrap();
                engine.unload(listed).unwrap();
                between.recorded.lock().unwrap().1 = true;
                between.changed.notify_all();
            });
            // The result varies: another call unloads the program as soon as it is loaded.
            if replaced {
                let version = crate::whole_loads::version(&bench, &old, "second", &["echo"]);
                drop(engine.replace_load(&version));
            } else {
                drop(engine.load(&bench.request("programs", &["alpha"])));
            }
        });
        assert!(engine.ids().is_empty());
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
        assert!(bench.kernel.snapshot().programs.is_empty());
    }
}

#[test]
fn last_of_concurrent_unloads_removes_shared_maps() {
    for object in ["programs", "sharing"] {
        let bench = bench();
        let engine = bench.watched(Arc::new(Meeting::default()));
        let (first, second) = if object == "programs" { ("alpha", "bravo") } else { ("host", "guest") };
        let owner = engine.loads(&bench.request(object, &[first]))[0];
        let mut request = bench.request(object, &[second]);
        request.map_owner = Some(owner);
        let sharer = engine.loads(&request)[0];
        std::thread::scope(|scope| {
            for program in [owner, sharer] {
                let engine = &engine;
                scope.spawn(move || engine.unload(program).unwrap());
            }
        });
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
        assert!(bench.kernel.snapshot().maps.is_empty());
    }
}

#[test]
fn map_shared_by_name_stays_with_users_of_its_owner() {
    let bench = bench();
    let engine = bench.engine();
    let owner = engine.loads(&bench.request("sharing", &["host"]))[0];
    let mut request = bench.request("sharing", &["guest"]);
    request.map_owner = Some(owner);
    let sharer = engine.loads(&request)[0];
    let map = engine.map_pins(sharer)["everyone"];
    engine.unload(owner).unwrap();
    let next = engine.loads(&bench.request("sharing", &["host"]))[0];
    assert_eq!(engine.map_pins(next)["everyone"], map);
    engine.unload(sharer).unwrap();
    engine.unload(next).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

#[test]
fn folder_of_a_great_number_uses_up_no_ids() {
    for folder in ["pending", "chains", "links"] {
        let bench = crate::simulated::bench();
        let before = {
            let engine = bench.engine();
            let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
            engine.attached(alpha, bench.xdp(1))
        };
        bench.kernel.make_folder(&Path::new(folder).join("4294967290")).unwrap();
        for _ in 0..2 {
            let (engine, report) = bench.start();
            let is_named =
                report.problems.iter().any(|problem| problem.starts_with(&format!("{folder}/429")));
            assert!(is_named || folder != "links", "{report:?}");
            let alpha = engine.ids()[0];
            let link = engine.attached(alpha, bench.xdp(2));
            assert!(link.0 > before.0 && link.0 < 1 << 20, "{link}");
            engine.detach(link).unwrap();
        }
    }
}

#[test]
fn last_numbers_are_reported_at_the_start_and_later() {
    let bench = crate::simulated::bench();
    let counter = |value: u64| {
        let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
        let mut batch = Batch::new();
        batch.put(Table("meta"), b"counter".as_slice(), serde_json::to_vec(&value).unwrap());
        store.commit(batch).unwrap();
    };
    drop(bench.engine());
    counter(u64::from(u32::MAX) - (1 << 25));
    {
        let engine = bench.engine();
        assert_eq!(engine.few_numbers_left(), None);
    }
    counter(u64::from(u32::MAX) - 5000);
    let (engine, report) = bench.start();
    let told = format!("{:?}", report.problems);
    assert!(told.contains("numbers for links and operations are left, of 4294967295: begin"), "{told}");
    let left = engine.few_numbers_left().unwrap();
    let number: u64 = left.split(' ').next().unwrap().parse().unwrap();
    assert!((1..=5000).contains(&number), "{left}");
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    assert_ne!(engine.few_numbers_left(), Some(left));
}

#[test]
fn start_removes_unneeded_map_pins() {
    let bench = bench();
    let engine = bench.engine();
    let host = engine.loads(&bench.request("sharing", &["host"]))[0];
    let before = pins(&*bench.kernel, Path::new(""));
    let map = bpfman_model::MapId(engine.map_pins(host)["everyone"]);
    drop(engine);
    {
        let map = bench.kernel.open_map(map).unwrap();
        bench.kernel.make_folder(Path::new("maps/4711")).unwrap();
        for path in ["maps/4711/left", "shared/behind"] {
            bench.kernel.pin(&map, Path::new(path)).unwrap();
        }
    }
    let (engine, report) = bench.start();
    assert_eq!((report.settled, report.problems.len()), (2, 0), "{report:?}");
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    drop(engine);
    let program = bench.kernel.open_program(host).unwrap().unwrap();
    let map = bench.kernel.open_map(map).unwrap();
    bench.kernel.make_folder(Path::new("maps/4711")).unwrap();
    bench.kernel.pin(&map, Path::new("maps/4711/theirs")).unwrap();
    bench.kernel.pin(&program, Path::new("prog_4711")).unwrap();
    let (_engine, report) = bench.start();
    assert_eq!((report.settled, report.problems.len()), (0, 1), "{report:?}");
    assert!(report.problems[0].starts_with("stray prog_4711: "), "{report:?}");
    assert_eq!(pins(&*bench.kernel, Path::new("maps/4711")), ["maps/4711/theirs"]);
}

#[test]
fn later_operation_removes_leftovers() {
    let bench = bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    let calls_of_detach = {
        let other = crate::simulated::bench();
        let engine = other.engine();
        let program = engine.loads(&other.request("programs", &["alpha"]))[0];
        let link = engine.attached(program, other.xdp(1));
        other.kernel.note_calls();
        engine.detach(link).unwrap();
        other.kernel.calls()
    };
    let end = calls_of_detach.iter().position(|call| *call == "end_link").unwrap() as u64;
    bench.kernel.fail_from(end + 1);
    engine.detach(link).unwrap_err();
    bench.kernel.fail_call(0);
    assert_eq!(pins(&*bench.kernel, Path::new("xdp")).len(), 1, "it could not be ended");
    assert!(engine.all_links().is_empty());
    engine.attached(bravo, bench.xdp(1));
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["bravo"]);
    // An unload that leaves an object behind still removes the bytecode.
    engine.unload(bravo).unwrap();
    let files = || files(&bench).len() + texts(&bench).len() + types(&bench).len();
    assert_eq!(files(), 3);
    bench.kernel.fail_call(1);
    let error = engine.unload(alpha);
    bench.kernel.fail_call(0);
    assert!(error.is_ok(), "one failure is tried again: {error:?}");
    assert_eq!(files(), 0);
    let charlie = engine.loads(&bench.request("programs", &["charlie"]))[0];
    bench.kernel.fail_from(1);
    engine.unload(charlie).unwrap_err();
    bench.kernel.fail_call(0);
    assert_eq!(files(), 0, "of a program that is gone");
    engine.close().unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    drop(engine);
    assert_eq!(bench.start().1.settled, 0, "nothing is left for the next start");
}

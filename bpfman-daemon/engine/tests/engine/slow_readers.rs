//! Object readers that fail at a start: affected programs are restored last, and do not delay those of other owners.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfman_model::{LoadRequest, Owner, OwningApplication};
use bpfmand_engine::{
    EbpfObject, Engine, EngineError, EngineOptions, LinkAhead, ReadHere, ReadObjects, RecoveryReport,
};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::simulated::bench;

/// Object reader that fails or is slow for objects with certain words in their bytes: the keys of its maps.
#[derive(Debug, Default)]
struct Failing {
    fails: Mutex<HashMap<&'static str, usize>>,
    /// Time that reading takes, by the kernel's clock.
    slow: Mutex<HashMap<&'static str, Duration>>,
    clock: Mutex<Option<Arc<SimKernel>>>,
    refused: Option<&'static str>,
    /// Objects read, and whether the read was a retry.
    asked: Mutex<Vec<(&'static str, bool)>>,
}

const WORDS: [&str; 2] = ["guest", "alpha"];

impl Failing {
    fn try_to(&self, bytes: Arc<[u8]>, again: bool) -> Result<EbpfObject, EngineError> {
        let has = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        let word = WORDS.into_iter().find(|word| has(word)).unwrap_or("?");
        self.asked.lock().unwrap().push((word, again));
        if let Some(left) = self.fails.lock().unwrap().get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            return Err(EngineError::Reader("it did not answer in time".to_owned()));
        }
        let slow = self.slow.lock().unwrap().get(word).copied().unwrap_or_default();
        if let Some(kernel) = &*self.clock.lock().unwrap() {
            kernel.pass_time(slow);
        }
        if self.refused == Some(word) {
            return Err(EngineError::Invalid("it is no object".to_owned()));
        }
        ReadHere.read(bytes)
    }
}

impl ReadObjects for Failing {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.try_to(bytes, false)
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, _ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        self.read(bytes)
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.try_to(bytes, true)
    }
}

fn started(bench: &Bench<SimKernel>, objects: &Arc<Failing>) -> (Engine<SimKernel>, RecoveryReport) {
    *objects.clock.lock().unwrap() = Some(Arc::clone(&bench.kernel));
    let options = EngineOptions { objects: Arc::clone(objects) as _, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    let report = engine.recover().unwrap();
    (engine, report)
}

fn of_namespace(load: LoadRequest, application: usize) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), &format!("filter-{application}")).unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

#[test]
fn program_with_failed_reader_loads_last_with_its_map_sharers() {
    let bench = bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let mut shared = bench.request("programs", &["charlie"]);
    shared.map_owner = Some(alpha);
    engine.loads(&shared);
    engine.loads(&bench.request("sharing", &["guest"]));
    drop(engine);
    bench.kernel.reboot();
    let objects = Arc::new(Failing { fails: Mutex::new([("alpha", 1)].into()), ..Failing::default() });
    let (engine, report) = started(&bench, &objects);
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 3));
    // The program that shares maps was not read before their owner.
    let asked = objects.asked.lock().unwrap().clone();
    assert_eq!(asked, [("alpha", false), ("guest", false), ("alpha", true), ("alpha", true)]);
    let counts: Vec<_> =
        engine.ids().into_iter().filter_map(|id| engine.map_pins(id).get("counts").copied()).collect();
    assert!(counts.len() >= 2 && counts[0] == counts[1], "{counts:?}");
}

#[test]
fn owner_with_failing_readers_delays_only_its_own_programs() {
    let bench = bench();
    let engine = bench.engine();
    // Applications of one namespace count together.
    for application in 0..5 {
        engine.loads(&of_namespace(bench.request("programs", &["bravo"]), application));
    }
    engine.loads(&bench.request("sharing", &["guest"]));
    drop(engine);
    bench.kernel.reboot();
    let objects = Arc::new(Failing { fails: Mutex::new([("alpha", 100)].into()), ..Failing::default() });
    let (engine, report) = started(&bench, &objects);
    assert_eq!((report.problems.len(), report.reloaded), (5, 1), "{report:?}");
    let asked = objects.asked.lock().unwrap().clone();
    let first: Vec<_> = asked.iter().filter(|(_, again)| !again).map(|(word, _)| *word).collect();
    assert_eq!(first, ["alpha", "alpha", "alpha", "guest"]);
    assert_eq!(asked.iter().filter(|(_, again)| *again).count(), 5);
    drop(engine);
    let (_engine, report) = started(&bench, &Arc::default());
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 5));
}

/// A late answer delays other owners no longer than a missing answer.
#[test]
fn owner_with_slow_readers_waits_like_one_with_failing_ones() {
    let bench = bench();
    let engine = bench.engine();
    for application in 0..6 {
        engine.loads(&of_namespace(bench.request("programs", &["bravo"]), application));
    }
    engine.loads(&bench.request("sharing", &["guest"]));
    drop(engine);
    bench.kernel.reboot();
    let slow = Mutex::new([("alpha", Duration::from_millis(2900))].into());
    let objects = Arc::new(Failing { slow, ..Failing::default() });
    let (_engine, report) = started(&bench, &objects);
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 7));
    let asked = objects.asked.lock().unwrap().clone();
    let first: Vec<_> = asked.iter().filter(|(_, again)| !again).map(|(word, _)| *word).collect();
    assert_eq!(first, ["alpha", "alpha", "alpha", "alpha", "guest"]);
}

/// A rejected object is not read again.
#[test]
fn an_owner_whose_readers_refuse_late_waits_too() {
    let bench = bench();
    let engine = bench.engine();
    for application in 0..6 {
        engine.loads(&of_namespace(bench.request("programs", &["bravo"]), application));
    }
    engine.loads(&bench.request("sharing", &["guest"]));
    drop(engine);
    bench.kernel.reboot();
    let slow = Mutex::new([("alpha", Duration::from_millis(2900))].into());
    let objects = Arc::new(Failing { slow, refused: Some("alpha"), ..Failing::default() });
    let (_engine, report) = started(&bench, &objects);
    assert_eq!((report.problems.len(), report.reloaded), (6, 1));
    let asked = objects.asked.lock().unwrap().clone();
    let words: Vec<_> = asked.iter().map(|(word, _)| *word).collect();
    assert_eq!(words, ["alpha", "alpha", "alpha", "alpha", "guest", "alpha", "alpha"]);
}

fn counts(engine: &Engine<SimKernel>) -> HashSet<u32> {
    engine.ids().into_iter().filter_map(|id| engine.map_pins(id).get("counts").copied()).collect()
}

#[test]
fn map_sharers_load_after_the_owner_in_the_second_pass_too() {
    let bench = bench();
    let engine = bench.engine();
    let owner = engine.loads(&of_namespace(bench.request("programs", &["alpha"]), 0))[0];
    let mut shared = bench.request("programs", &["charlie"]);
    shared.map_owner = Some(owner);
    let between = engine.loads(&shared)[0];
    shared.map_owner = Some(between);
    engine.loads(&shared);
    assert_eq!(counts(&engine).len(), 1);
    drop(engine);
    bench.kernel.reboot();
    let objects = Arc::new(Failing { fails: Mutex::new([("alpha", 1)].into()), ..Failing::default() });
    let (engine, report) = started(&bench, &objects);
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 3));
    assert_eq!(counts(&engine).len(), 1);
}

#[test]
fn sharers_of_a_missing_owner_use_the_first_restored_ones_maps() {
    for fails in 0..4 {
        let bench = bench();
        let engine = bench.engine();
        let owner = engine.loads(&of_namespace(bench.request("programs", &["alpha"]), 0))[0];
        let mut shared = bench.request("programs", &["charlie"]);
        shared.map_owner = Some(owner);
        engine.loads(&of_namespace(shared.clone(), 0));
        engine.loads(&shared);
        engine.unload(owner).unwrap();
        drop(engine);
        bench.kernel.reboot();
        // Failures: none; the first one once; the first one always; both once.
        let objects =
            Arc::new(Failing { fails: Mutex::new([("alpha", fails)].into()), ..Failing::default() });
        let (engine, report) = started(&bench, &objects);
        let reloaded = if fails < 2 { 2 } else { 3 - fails.min(3) };
        assert_eq!((report.problems.len(), report.reloaded), (2 - reloaded, reloaded), "{report:?}");
        drop(engine);
        let (engine, report) = started(&bench, &Arc::default());
        assert_eq!((report.problems, report.reloaded), (Vec::new(), 2 - reloaded));
        assert_eq!(counts(&engine).len(), 1);
    }
}

/// Objects that are read in time do not count as slow, however many one owner has.
#[test]
fn objects_that_are_read_soon_are_not_counted() {
    let bench = bench();
    let engine = bench.engine();
    for application in 0..24 {
        engine.loads(&of_namespace(bench.request("programs", &["bravo"]), application));
    }
    drop(engine);
    bench.kernel.reboot();
    let slow = Mutex::new([("alpha", Duration::from_millis(450))].into());
    let objects = Arc::new(Failing { slow, ..Failing::default() });
    let (_engine, report) = started(&bench, &objects);
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 24));
    assert!(objects.asked.lock().unwrap().iter().all(|(_, again)| !again));
}

#[test]
fn loads_of_root_do_not_wait_for_failed_ones_of_root() {
    let bench = bench();
    let engine = bench.engine();
    for _ in 0..4 {
        engine.loads(&bench.request("programs", &["bravo"]));
    }
    engine.loads(&bench.request("sharing", &["guest"]));
    drop(engine);
    bench.kernel.reboot();
    let objects = Arc::new(Failing { fails: Mutex::new([("alpha", 4)].into()), ..Failing::default() });
    let (_engine, report) = started(&bench, &objects);
    assert_eq!((report.problems, report.reloaded), (Vec::new(), 5));
    let asked = objects.asked.lock().unwrap().clone();
    let first: Vec<_> = asked.iter().filter(|(_, again)| !again).map(|(word, _)| *word).collect();
    assert_eq!(first, ["alpha", "alpha", "alpha", "alpha", "guest"]);
}

//! Lists during changes: a partly executed change is not shown as a difference.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bpfman_model::Selector;
use bpfmand_engine::{Engine, EngineOptions, StepObserver};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, TEST_TIMEOUT, Testable as _};
use crate::cases::cases;
use crate::whole_loads::version;

/// Readers that do not block finish in this time.
const MOMENT: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Reader {
    engine: OnceLock<Weak<Engine<SimKernel>>>,
    open: Mutex<Vec<(String, Receiver<Vec<String>>)>>,
}

impl StepObserver for Reader {
    fn before(&self, operation: &'static str, step: &'static str) {
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return };
        let (done, reading) = channel();
        let reader = std::thread::spawn(move || drop(done.send(differences(&engine))));
        let step = format!("{operation}: {step}");
        match reading.recv_timeout(MOMENT) {
            Ok(found) => {
                reader.join().unwrap();
                assert_eq!(found, Vec::<String>::new(), "{step}");
            }
            Err(_) => self.open.lock().unwrap().push((step, reading)),
        }
    }
}

fn differences(engine: &Engine<SimKernel>) -> Vec<String> {
    let mut found = Vec::new();
    for link in engine.all_links().iter().filter(|link| !link.standing.is_running()) {
        found.push(format!("link {}: {}", link.record.id, link.standing));
    }
    for hook in engine.list_hooks().unwrap() {
        found.extend(hook.troubles.iter().map(|(_, standing)| format!("{}: {standing}", hook.hook)));
    }
    for program in engine.list(&Selector::default()).unwrap() {
        let standing = program.managed.map(|managed| managed.standing);
        found
            .extend(standing.filter(|is| !is.is_running()).map(|is| format!("program {}: {is}", program.id)));
    }
    found
}

#[test]
fn change_that_is_half_done_is_no_difference() {
    for name in [
        "attach the third of a chain",
        "attach the third to clsact",
        "detach one of two at tc",
        "update a priority",
        "replace one in a chain",
        "replace one at tcx",
        "replace one at two trace points",
        "replace a load in one chain",
        "unload one at two trace points",
    ] {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        let reader = Arc::new(Reader::default());
        let bench = Bench { tc_by_clsact: case.by_clsact, ..crate::simulated::bench() };
        let engine = Arc::new(bench.watched(Arc::clone(&reader) as Arc<dyn StepObserver>));
        let scene = (case.before)(&bench, &engine);
        assert_eq!(differences(&engine), Vec::<String>::new(), "{name}");
        reader.engine.set(Arc::downgrade(&engine)).unwrap();
        (case.operation)(&bench, &engine, &scene).unwrap();
        for (step, reading) in reader.open.lock().unwrap().drain(..) {
            assert_eq!(reading.recv_timeout(TEST_TIMEOUT).unwrap(), Vec::<String>::new(), "{name}, {step}");
        }
    }
}

/// Lists hooks before the record is written: each already runs the new version.
#[derive(Default)]
struct Lister {
    engine: OnceLock<Weak<Engine<SimKernel>>>,
    listed: Mutex<Option<Vec<String>>>,
}

impl StepObserver for Lister {
    fn before(&self, operation: &'static str, step: &'static str) {
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return };
        if (operation, step) != ("replace", "record") {
            return;
        }
        let (done, listed) = channel();
        std::thread::spawn(move || done.send(differences(&engine)));
        *self.listed.lock().unwrap() = listed.recv_timeout(TEST_TIMEOUT).ok();
    }
}

/// One wait per hook would be three times as long as the test's timeout.
#[test]
fn list_waits_once_for_all_hooks_that_are_being_changed() {
    const HOOKS: usize = 100;
    let bench = crate::simulated::bench();
    let lister = Arc::new(Lister::default());
    let observer = Arc::clone(&lister) as Arc<dyn StepObserver>;
    let options = EngineOptions { observer, observation_wait: TEST_TIMEOUT / 33, ..bench.options() };
    let engine = Arc::new(Engine::open(Arc::clone(&bench.kernel), options).unwrap());
    assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
    bench.kernel.add_interfaces(&bench.netns, HOOKS);
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    for number in 0..HOOKS {
        let mut point = bench.xdp(1);
        *point.interface_mut().unwrap() = bench.interface(&format!("pod{number}"));
        engine.attached(alpha, point);
    }
    lister.engine.set(Arc::downgrade(&engine)).unwrap();
    engine.replace_load(&version(&bench, &[alpha], "second", &["alpha"])).unwrap();
    let listed = lister.listed.lock().unwrap().take().expect("one wait for all");
    assert_eq!(listed.len(), 2 * HOOKS, "links and hooks that are shown in the middle of a change");
    assert!(listed.iter().all(|line| line.contains(": changing: an operation changes it")), "{}", listed[0]);
    assert_eq!(differences(&engine), Vec::<String>::new());
}

//! Recorded numbers of network namespaces: each exists from before the first filter until after the last.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bpfman_model::{Direction, LinkId, ProgramId};
use bpfmand_engine::{Engine, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, TEST_TIMEOUT};
use crate::cases::cases;
use crate::crashes::{Ending, set_up};
use crate::namespaces::{INGRESS, Sim, at, by_clsact, cut_chain, follow, hide};

/// A detach finishes in this time unless it waits for the attachment.
const MOMENT: Duration = Duration::from_millis(50);

fn numbers(bench: &Sim) -> usize {
    bench.kernel.list_folder(Path::new("namespaces")).unwrap().len()
}

#[test]
fn number_of_a_namespace_goes_with_its_last_filter() {
    let bench = by_clsact();
    let engine = bench.engine();
    let links = cut_chain(&bench, &engine);
    assert_eq!(numbers(&bench), 1);
    engine.detach(links[0]).unwrap();
    assert_eq!(numbers(&bench), 1);
    engine.detach(links[1]).unwrap();
    assert_eq!(numbers(&bench), 0);
    cut_chain(&bench, &engine);
    let home = hide(&bench);
    bench.kernel.end_namespace(home);
    follow(&engine, &bench);
    assert_eq!(numbers(&bench), 0);
}

#[derive(Default)]
struct Detacher {
    engine: OnceLock<Weak<Engine<SimKernel>>>,
    link: Mutex<Option<LinkId>>,
    detached: Mutex<Option<Receiver<()>>>,
}

impl StepObserver for Detacher {
    fn before(&self, operation: &'static str, step: &'static str) {
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return };
        let Some(link) =
            ((operation, step) == ("attach", "record")).then(|| self.link.lock().unwrap().take()).flatten()
        else {
            return;
        };
        let (done, detached) = channel();
        std::thread::spawn(move || {
            engine.detach(link).unwrap();
            drop(engine);
            done.send(()).unwrap();
        });
        if detached.recv_timeout(MOMENT).is_err() {
            *self.detached.lock().unwrap() = Some(detached);
        }
    }
}

#[test]
fn number_stays_for_a_filter_that_is_not_recorded_yet() {
    let bench = by_clsact();
    let detacher = Arc::new(Detacher::default());
    let engine = Arc::new(bench.watched(Arc::clone(&detacher) as Arc<dyn StepObserver>));
    bench.kernel.add_interface(Some(&bench.netns), "second").unwrap();
    let [tango, tulip]: [ProgramId; 2] =
        engine.loads(&bench.request("programs", &["tango", "tulip"])).try_into().unwrap();
    let first = engine.attached(tango, bench.tc(INGRESS, 1));
    detacher.engine.set(Arc::downgrade(&engine)).unwrap();
    *detacher.link.lock().unwrap() = Some(first);
    engine.attached(tulip, at(bench.tc(INGRESS, 1), bench.interface("second")));
    if let Some(detached) = detacher.detached.lock().unwrap().take() {
        detached.recv_timeout(TEST_TIMEOUT).unwrap();
    }
    assert_eq!((bench.kernel.snapshot().filters.len(), numbers(&bench)), (1, 1));
}

/// Makes the removal of the filter fail when an attachment that panics is undone.
struct NotRemoved(OnceLock<Arc<SimKernel>>);

impl StepObserver for NotRemoved {
    fn before(&self, operation: &'static str, step: &'static str) {
        if let (Some(kernel), ("attach", "record")) = (self.0.get(), (operation, step)) {
            kernel.fail_call(1);
            resume_unwind(Box::new("the operation ends"));
        }
    }
}

#[test]
fn number_stays_for_a_filter_that_could_not_be_removed() {
    let bench = by_clsact();
    let observer = Arc::new(NotRemoved(OnceLock::new()));
    let engine = bench.watched(Arc::clone(&observer) as Arc<dyn StepObserver>);
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    observer.0.set(Arc::clone(&bench.kernel)).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| engine.attached(tango, bench.tc(INGRESS, 1)))).is_err());
    assert!(!bench.kernel.failure_pending());
    assert_eq!((bench.kernel.snapshot().filters.len(), numbers(&bench)), (1, 1));
    engine.loads(&bench.request("programs", &["tulip"]));
    assert_eq!((bench.kernel.snapshot().filters.len(), numbers(&bench)), (0, 0));
}

#[derive(Default)]
struct SecondNotRemoved {
    kernel: OnceLock<Arc<SimKernel>>,
    removed: AtomicUsize,
}

impl StepObserver for SecondNotRemoved {
    fn before(&self, _: &'static str, step: &'static str) {
        if let (Some(kernel), "remove filter") = (self.kernel.get(), step)
            && self.removed.fetch_add(1, Ordering::SeqCst) == 1
        {
            kernel.fail_from(1);
        }
    }
}

#[test]
fn number_stays_for_the_second_filter_of_an_unload() {
    let bench = by_clsact();
    let observer = Arc::new(SecondNotRemoved::default());
    let engine = bench.watched(Arc::clone(&observer) as Arc<dyn StepObserver>);
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    engine.attached(tango, bench.tc(Direction::Egress, 1));
    observer.kernel.set(Arc::clone(&bench.kernel)).unwrap();
    engine.unload(tango).unwrap_err();
    bench.kernel.fail_call(0);
    assert_eq!((bench.kernel.snapshot().filters.len(), numbers(&bench)), (1, 1));
    engine.loads(&bench.request("programs", &["tulip"]));
    assert_eq!((bench.kernel.snapshot().filters.len(), numbers(&bench)), (0, 0));
}

fn numbers_after_kills(name: &str) -> usize {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let mut with_filters = 0;
    for at in 1.. {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up(&case, &ending);
        ending.arm(at);
        let result = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
        drop(engine);
        if result.is_ok() {
            return with_filters;
        }
        bench.kernel.fail_call(0);
        let _engine: Engine<SimKernel> = Bench::engine(&bench);
        let has_filters = !bench.kernel.snapshot().filters.is_empty();
        with_filters += usize::from(has_filters);
        assert_eq!(numbers(&bench), usize::from(has_filters), "{name}, {:?}", ending.steps().last());
    }
    unreachable!("the operation has an end")
}

#[test]
fn start_forgets_the_number_of_an_attachment_that_was_cut_short() {
    assert!(numbers_after_kills("attach the first to clsact") > 0);
    assert!(numbers_after_kills("detach the last at clsact") > 0);
}

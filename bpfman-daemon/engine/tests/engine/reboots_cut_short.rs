//! Two successive starts after a reboot are interrupted: the next one has every program once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfman_model::Direction;
use bpfmand_engine::{Engine, EngineOptions, SCHEMA, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_store::{Store, StoreOptions};

use crate::bench::{Ask as _, Bench, pins};
use crate::simulated::{bench, shape};

/// Kills the daemon before its n-th step: unwinding code can no longer reach the kernel.
struct Kill {
    kernel: Arc<SimKernel>,
    steps: AtomicUsize,
}

impl StepObserver for Kill {
    fn before(&self, _: &'static str, _: &'static str) {
        if self.steps.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.kernel.fail_from(1);
            std::panic::resume_unwind(Box::new("the daemon ended"));
        }
    }
}

fn start_and_kill(bench: &Bench<SimKernel>, step: usize) -> bool {
    let observer = Arc::new(Kill { kernel: Arc::clone(&bench.kernel), steps: AtomicUsize::new(step) });
    let killed = catch_unwind(AssertUnwindSafe(|| drop(bench.watched(observer)))).is_err();
    bench.kernel.fail_call(0);
    killed
}

fn scene() -> Bench<SimKernel> {
    let bench = bench();
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "xray"];
    let [alpha, bravo, charlie, xray] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!("four programs")
    };
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    engine.attached(xray, bench.tcx(1));
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    assert!(engine.describe_program(charlie).unwrap().managed.is_some(), "loaded, attached nowhere");
    bench
}

fn seen(bench: &Bench<SimKernel>) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let (engine, report) = bench.start();
    assert_eq!(report.problems, Vec::<String>::new());
    let links = engine.all_links();
    let mut shown: Vec<String> = links.iter().map(|l| format!("{} {}", l.program.name, l.standing)).collect();
    for name in ["alpha", "bravo", "charlie", "xray", "tango"] {
        let all = engine.ids().into_iter().map(|id| engine.describe_program(id).unwrap());
        let found: Vec<_> =
            all.filter(|p| p.managed.as_ref().is_some_and(|m| m.record.name == name)).collect();
        assert_eq!(found.len(), 1, "{name}");
        let managed = found[0].managed.as_ref().unwrap();
        let maps = bench.kernel.list_folder(&managed.record.maps_folder()).unwrap();
        shown.push(format!("{name} {} {maps:?}", managed.standing));
    }
    let mut shape = shape(&bench.kernel.snapshot());
    for (what, values) in &mut shape {
        if ["pins", "links", "tcx"].contains(&what.as_str()) {
            values.iter_mut().for_each(|value| *value = value.replace(|c: char| c.is_ascii_digit(), ""));
            values.sort();
        }
    }
    (shape, shown)
}

#[test]
fn start_killed_twice_after_reboot_loses_and_leaks_nothing() {
    let wanted = {
        let bench = scene();
        bench.kernel.reboot();
        seen(&bench)
    };
    let mut first = 1;
    loop {
        // Test every third step, with a different offset each time: all of them would take minutes.
        let mut second = 1 + first % 3;
        loop {
            let bench = scene();
            bench.kernel.reboot();
            if !start_and_kill(&bench, first) {
                assert!(first > 20, "a start after a reboot has steps, not {first}");
                return;
            }
            let killed_twice = start_and_kill(&bench, second);
            let what = format!("killed before step {first}, then before step {second}");
            assert_eq!(seen(&bench), wanted, "{what}");
            assert_eq!(pins(&*bench.kernel, Path::new("pending")), Vec::<String>::new(), "{what}");
            if !killed_twice {
                break;
            }
            second += 3;
        }
        first += 1;
    }
}

#[test]
fn second_reboot_after_a_killed_start_loads_all_again() {
    let wanted = {
        let bench = scene();
        bench.kernel.reboot();
        seen(&bench)
    };
    for step in 1.. {
        let bench = scene();
        bench.kernel.reboot();
        let killed = start_and_kill(&bench, step);
        bench.kernel.reboot();
        bench.kernel.reboot();
        assert_eq!(seen(&bench), wanted, "killed before step {step}");
        if !killed {
            break;
        }
    }
}

#[test]
fn third_party_program_with_a_recorded_id_is_not_ours() {
    let bench = scene();
    bench.kernel.reboot();
    // A third party loads the same bytecode first: its programs have the ids and tags of our records.
    let theirs: Vec<_> = {
        let engine = Engine::open(Arc::clone(&bench.kernel), options_of_another(&bench)).unwrap();
        engine.recover().unwrap();
        let ids = engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie", "xray"]));
        let held = ids.iter().map(|id| bench.kernel.open_program(*id).unwrap().unwrap()).collect();
        ids.iter().for_each(|id| engine.unload(*id).unwrap());
        held
    };
    let (engine, report) = bench.start();
    assert_eq!((report.adopted, report.reloaded, report.problems), (0, 5, Vec::new()));
    let facts = theirs.iter().map(|handle| bench.kernel.program_of(handle).unwrap().id);
    assert!(facts.into_iter().all(|id| !engine.ids().contains(&id)), "{:?}", engine.ids());
}

fn options_of_another(bench: &Bench<SimKernel>) -> EngineOptions {
    let folder = bench.folder.path().join("another");
    let store = Store::open(StoreOptions::new(folder.join("store"), SCHEMA)).unwrap();
    EngineOptions::new(folder.join("bytecode"), store)
}

#[test]
fn numbers_of_pins_without_records_are_not_given_again() {
    let bench = bench();
    let engine = bench.engine();
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    drop(engine);
    for folder in ["pending/5000", "chains/7000"] {
        bench.kernel.make_folder(Path::new(folder)).unwrap();
    }
    let engine = bench.engine();
    let link = engine.attached(xray, bench.tcx(1));
    assert!(link.0 > 7000, "{link}");
}

//! Operations that fail and cannot be undone at once, for example for lack of descriptors: the next one undoes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bpfman_model::HookKind;
use bpfmand_engine::{Engine, EngineError, EngineOptions, StepObserver};
use bpfmand_kernel::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::{Ask as _, pins};
use crate::cases::{Case, cases};
use crate::crashes::{Ending, explain, look, set_up};
use crate::durability::{BREAK, WELL, fickle_options};
use crate::places::places;

fn refuse_everything_from(case: &Case) -> Vec<String> {
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(case, &ending);
    bench.kernel.note_calls();
    (case.operation)(&bench, &engine, &scene).unwrap();
    let calls = bench.kernel.calls();
    let mut wrong = Vec::new();
    for at in places(&calls) {
        let (bench, engine, scene) = set_up(case, &ending);
        let before = look(&bench, &engine);
        bench.kernel.fail_from(at as u64);
        let result = (case.operation)(&bench, &engine, &scene);
        bench.kernel.fail_call(0);
        if !matches!(result, Err(EngineError::NotUndone { .. })) {
            continue;
        }
        let report = engine.check_all();
        let found = look(&bench, &engine);
        let what =
            format!("{}, refused from call {at} on, {}, answered {result:?}", case.name, calls[at - 1]);
        if found != before {
            wrong.push(format!("{what}: {}", explain(&before, &found)));
        }
        if !engine.check_all().lost.is_empty() {
            wrong.push(format!("{what}: {report:?}"));
        }
    }
    wrong
}

fn refuse_everything_during(names: &[&str]) {
    let is_meant = |case: &&Case| names.iter().any(|name| case.name.starts_with(name));
    let all = cases();
    let meant: Vec<_> = all.iter().filter(is_meant).collect();
    assert!(meant.len() >= names.len());
    let wrong: Vec<String> = meant.into_iter().flat_map(refuse_everything_from).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn attach_that_could_not_be_undone_is_undone_by_the_next_change() {
    refuse_everything_during(&["attach"]);
}

#[test]
fn load_or_detach_that_could_not_be_undone_is_undone_later() {
    refuse_everything_during(&["load", "detach one of two", "update a priority", "adopt"]);
}

#[test]
fn replacement_that_could_not_be_undone_is_undone_later() {
    refuse_everything_during(&[
        "replace one in a chain",
        "replace one at two clsact hooks",
        "replace one at tcx",
        "replace one at two trace points",
        "unload one at two hooks",
    ]);
}

fn allow_descriptors(most: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
}

/// Exhausts all descriptors before the record of the first attach.
#[derive(Default)]
struct Thief(AtomicBool);

impl StepObserver for Thief {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("attach", "record") && !self.0.swap(true, Ordering::SeqCst) {
            // The limit is below the number of open descriptors: closing one allows no new one.
            allow_descriptors(3);
        }
    }
}

/// Nextest runs each test in a process of its own.
#[test]
fn linux_attach_out_of_descriptors_is_undone_when_some_are_free() {
    let bench = crate::linux::bench("descriptors");
    let mood = Arc::new(AtomicU8::new(WELL));
    let observer = Arc::new(Thief::default()) as Arc<dyn StepObserver>;
    let options = EngineOptions { observer, ..fickle_options(&bench, &mood) };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let before = pins(&*bench.kernel, std::path::Path::new(""));
    mood.store(BREAK, Ordering::SeqCst);
    let error = engine.try_attach(alpha, bench.xdp(1)).unwrap_err();
    mood.store(WELL, Ordering::SeqCst);
    allow_descriptors(1024);
    assert!(matches!(error, EngineError::NotUndone { .. }), "{error}");
    let key = bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
    let runs = || bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap().entries.len();
    assert_eq!(runs(), 1, "it could not be ended");
    let report = engine.check_all();
    assert_eq!(report.lost, []);
    assert_eq!(runs(), 0);
    assert_eq!(pins(&*bench.kernel, std::path::Path::new("")), before);
    engine.attached(bravo, bench.xdp(1));
}

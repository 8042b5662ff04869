//! The daemon is killed at every step of every operation: the next start restores the state before or after it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bpfman_model::{HookKind, Selector};
use bpfmand_engine::{Engine, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_splice::CounterLayout;

use crate::bench::{Ask as _, Bench};
use crate::cases::{Case, cases};
use crate::faults::differences;
use crate::places::places;
use crate::scenes::Scene;
use crate::simulated::{bench, shape};

/// Kills the daemon before a step, counted from 1; 0 for never.
#[derive(Default)]
pub struct Ending {
    /// Refuses every call of the killed daemon, so that unwinding undoes nothing.
    kernel: Mutex<Option<Arc<SimKernel>>>,
    at: AtomicUsize,
    steps: Mutex<Vec<String>>,
}

impl StepObserver for Ending {
    fn before(&self, operation: &'static str, step: &'static str) {
        let mut steps = self.steps.lock().unwrap();
        steps.push(format!("{operation}: {step}"));
        let end = steps.len() == self.at.load(Ordering::SeqCst);
        drop(steps);
        if end {
            if let Some(kernel) = &*self.kernel.lock().unwrap() {
                kernel.fail_from(1);
            }
            // Unlike a panic, this prints no backtrace for each of several hundred kills.
            std::panic::resume_unwind(Box::new("the daemon ended"));
        }
    }
}

impl Ending {
    pub fn of(kernel: &Arc<SimKernel>) -> Self {
        Self { kernel: Mutex::new(Some(Arc::clone(kernel))), ..Self::default() }
    }

    pub fn arm(&self, at: usize) {
        self.steps.lock().unwrap().clear();
        self.at.store(at, Ordering::SeqCst);
    }

    pub fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap().clone()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub kernel: BTreeMap<String, Vec<String>>,
    pub programs: Vec<String>,
    pub links: Vec<String>,
}

pub fn look(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) -> Seen {
    let ours = Selector { managed_only: true, ..Selector::default() };
    let programs = engine.list(&ours).unwrap();
    Seen {
        kernel: shape(&bench.kernel.snapshot()),
        programs: programs
            .iter()
            .filter_map(|program| program.managed.as_ref())
            .map(|program| {
                format!(
                    "{} {} {:?} {} {:?}",
                    program.record.uid,
                    program.record.name,
                    program.links,
                    program.standing,
                    program.record.maps_folder()
                )
            })
            .collect(),
        links: engine
            .all_links()
            .iter()
            .map(|link| {
                format!(
                    "{} {} {:?} {:?} {:?} {:?} {}",
                    link.record.id,
                    link.program.name,
                    link.record.point,
                    link.record.order,
                    link.position,
                    link.pin,
                    link.standing
                )
            })
            .collect(),
    }
}

pub fn explain(wanted: &Seen, found: &Seen) -> String {
    let of = |seen: &Seen| {
        let mut all = seen.kernel.clone();
        all.insert("listed programs".to_owned(), seen.programs.clone());
        all.insert("listed links".to_owned(), seen.links.clone());
        all
    };
    differences(&of(wanted), &of(found))
}

pub fn set_up(case: &Case, ending: &Arc<Ending>) -> (Bench<SimKernel>, Engine<SimKernel>, Scene) {
    set_up_on(bench(), case, ending)
}

fn set_up_on(
    bench: Bench<SimKernel>,
    case: &Case,
    ending: &Arc<Ending>,
) -> (Bench<SimKernel>, Engine<SimKernel>, Scene) {
    let bench = Bench { tc_by_clsact: case.by_clsact, ..bench };
    let engine = bench.watched(Arc::clone(ending) as Arc<dyn StepObserver>);
    *ending.kernel.lock().unwrap() = Some(Arc::clone(&bench.kernel));
    let scene = (case.before)(&bench, &engine);
    (bench, engine, scene)
}

fn end_at_every_step(case: &Case) -> Vec<String> {
    end_at_every_step_on(&bench, case)
}

pub fn end_at_every_step_on(new: &dyn Fn() -> Bench<SimKernel>, case: &Case) -> Vec<String> {
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up_on(new(), case, &ending);
    let before = look(&bench, &engine);
    ending.arm(0);
    (case.operation)(&bench, &engine, &scene).unwrap();
    let steps = ending.steps();
    let after = look(&bench, &engine);
    assert!(!steps.is_empty(), "{}: has steps", case.name);

    let mut wrong = Vec::new();
    for at in places(&steps) {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up_on(new(), case, &ending);
        ending.arm(at);
        let ended = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
        assert!(ended.is_err(), "{}: ended at step {at}", case.name);
        drop(engine);
        bench.kernel.fail_call(0);
        let (engine, report) = bench.start();
        let found = look(&bench, &engine);
        let what = format!("{}, ended before step {at}, {}", case.name, steps[at - 1]);
        // Steps before the record are undone, later ones are finished.
        let recorded = steps[..at - 1].iter().any(|step| step.ends_with(": record"));
        let wanted = if recorded { &after } else { &before };
        if found != *wanted {
            wrong.push(format!("{what}: {}", explain(wanted, &found)));
        }
        if !report.problems.is_empty() {
            wrong.push(format!("{what}: {report:?}"));
        }
        drop(engine);
        let (engine, report) = bench.start();
        if look(&bench, &engine) != found
            || report.reloaded + report.reattached > 0
            || !report.problems.is_empty()
        {
            wrong.push(format!("{what}: the second start still had work: {report:?}"));
        }
    }
    wrong
}

fn end_at_every_step_of(operation: &str) {
    let wrong: Vec<String> =
        cases().iter().filter(|case| case.name.starts_with(operation)).flat_map(end_at_every_step).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_move_to_a_new_file_that_is_cut_short_happened_or_not() {
    end_at_every_step_of("check");
}

#[test]
fn a_load_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("load");
}

#[test]
fn an_attach_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("attach");
}

#[test]
fn an_adoption_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("adopt");
}

#[test]
fn a_detach_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("detach");
}

#[test]
fn an_unload_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("unload");
}

#[test]
fn an_update_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("update");
}

#[test]
fn a_switch_of_a_hook_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("set");
}

pub fn count(bench: &Bench<SimKernel>) {
    let layout = CounterLayout::new(bpfmand_splice::SpliceHook::Xdp, 2);
    let mut cells = vec![0_u64; layout.slots * layout.columns];
    cells[layout.cell(0, 1)] = 5;
    let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect();
    let row = CounterLayout::row(bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap().ifindex.0);
    for name in bench.kernel.list_folder(Path::new("chains")).unwrap() {
        let map = bench.kernel.open_pin(&Path::new("chains").join(name).join("counters")).unwrap().unwrap();
        if bench.kernel.map_of(&map).unwrap().value_size as usize == layout.value_size() {
            bench.kernel.write_per_cpu(&map, row, &bytes).unwrap();
        }
    }
}

#[test]
fn counts_survive_kill_at_every_step_once() {
    let case = cases().into_iter().find(|case| case.name == "attach the third of a chain").unwrap();
    let runs = |engine: &Engine<SimKernel>, bench: &Bench<SimKernel>, link| {
        let view = engine.show_chain(&bench.left(), HookKind::Xdp).unwrap();
        let member = view.members.iter().find(|member| member.link.id == link).unwrap();
        member.counters.as_ref().unwrap().runs
    };
    let (mut at, mut steps) = (0, 1);
    while at <= steps {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up(&case, &ending);
        count(&bench);
        let first = engine.show_chain(&bench.left(), HookKind::Xdp).unwrap().members[0].link.id;
        let before = runs(&engine, &bench, first);
        assert!(before > 0);
        ending.arm(at);
        let ended = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
        assert_eq!(ended.is_err(), at > 0);
        steps = steps.max(ending.steps().len());
        drop(engine);
        bench.kernel.fail_call(0);
        let engine = bench.engine();
        assert_eq!(runs(&engine, &bench, first), before, "ended before step {at}: {:?}", ending.steps());
        at += 1;
    }
    assert!(steps > 5);
}

#[test]
fn a_replacement_that_is_cut_short_happened_or_did_not() {
    end_at_every_step_of("replace");
}

fn refuse_everything_from(case: &Case) -> Vec<String> {
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(case, &ending);
    let before = look(&bench, &engine);
    bench.kernel.note_calls();
    (case.operation)(&bench, &engine, &scene).unwrap();
    let calls = bench.kernel.calls();
    let after = look(&bench, &engine);
    drop(engine);

    let mut wrong = Vec::new();
    for at in places(&calls) {
        let (bench, engine, scene) = set_up(case, &ending);
        bench.kernel.fail_from(at as u64);
        let result = (case.operation)(&bench, &engine, &scene);
        bench.kernel.fail_call(0);
        drop(engine);
        let (engine, report) = bench.start();
        let found = look(&bench, &engine);
        let what = format!(
            "{}, refused from call {at} of {} on, {}, answered {result:?}",
            case.name,
            calls.len(),
            calls[at - 1]
        );
        if found != before && found != after {
            wrong.push(format!(
                "{what}: from before {}\n    from after {}",
                explain(&before, &found),
                explain(&after, &found)
            ));
        }
        if result.is_ok() && found != after {
            wrong.push(format!("{what}: acknowledged and lost"));
        }
        if !report.problems.is_empty() {
            wrong.push(format!("{what}: {report:?}"));
        }
    }
    wrong
}

fn refuse_everything_during(operation: &str) {
    let wrong: Vec<String> = cases()
        .iter()
        .filter(|case| case.name.starts_with(operation))
        .flat_map(refuse_everything_from)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_load_that_could_not_be_undone_is_mended_at_the_next_start() {
    refuse_everything_during("load");
}

#[test]
fn attach_that_could_not_be_undone_is_repaired_at_next_start() {
    refuse_everything_during("attach");
}

#[test]
fn detach_that_could_not_be_undone_is_repaired_at_next_start() {
    refuse_everything_during("detach");
}

#[test]
fn unload_that_could_not_be_undone_is_repaired_at_next_start() {
    refuse_everything_during("unload");
}

#[test]
fn update_that_could_not_be_undone_is_repaired_at_next_start() {
    refuse_everything_during("update");
}

#[test]
fn replacement_that_could_not_be_undone_is_repaired_at_start() {
    refuse_everything_during("replace");
    refuse_everything_during("adopt");
}

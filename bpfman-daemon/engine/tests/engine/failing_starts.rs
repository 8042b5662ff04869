//! Starts that fail after an interrupted operation: running programs keep all that they need.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bpfman_model::ProgramId;
use bpfmand_engine::Engine;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Bench, pins};
use crate::cases::{Case, cases};
use crate::crashes::{Ending, set_up};
use crate::places::places;

fn cut_short(case: &Case, step: &str) -> Bench<SimKernel> {
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(case, &ending);
    ending.arm(0);
    (case.operation)(&bench, &engine, &scene).unwrap();
    let at = 1 + ending.steps().iter().position(|found| found == step).unwrap();
    drop((engine, bench));
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(case, &ending);
    ending.arm(at);
    let ended = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
    assert!(ended.is_err(), "{}: ended before {step}", case.name);
    drop(engine);
    bench.kernel.fail_call(0);
    bench
}

fn running(kernel: &SimKernel) -> Vec<(String, ProgramId)> {
    let snapshot = kernel.snapshot();
    let links = snapshot.links.values().map(|link| (link.place.clone(), link.program));
    let filters = snapshot.filters.iter().map(|(place, filter)| (place.clone(), filter.program));
    links.chain(filters).collect()
}

fn pinned(kernel: &SimKernel) -> BTreeSet<ProgramId> {
    let open = |pin: &String| kernel.open_pin(Path::new(pin)).unwrap().unwrap();
    let all = pins(kernel, Path::new(""));
    all.iter().filter_map(|pin| kernel.program_of(&open(pin)).ok()).map(|facts| facts.id).collect()
}

fn fail_every_call_of_the_start_after(name: &str, step: &str) {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let (mended, calls) = {
        let bench = cut_short(&case, step);
        bench.kernel.note_calls();
        let (_engine, report) = bench.start();
        assert!(report.problems.is_empty(), "{report:?}");
        (running(&bench.kernel).len(), bench.kernel.calls())
    };
    assert!(calls.len() > 5, "the start makes calls");
    let mut wrong = Vec::new();
    for call in places(&calls) {
        let bench = cut_short(&case, step);
        let places =
            |kernel: &SimKernel| running(kernel).into_iter().map(|(place, _)| place).collect::<Vec<_>>();
        let before = places(&bench.kernel);
        bench.kernel.fail_call(call as u64);
        if let Ok(engine) = Engine::open(Arc::clone(&bench.kernel), bench.options()) {
            let _ = engine.recover();
        }
        assert!(!bench.kernel.failure_pending(), "{name}, cut before {step}: call {call} did not come");
        bench.kernel.fail_call(0);
        let what = format!("{name}, cut before {step}, call {call} of the start failed");
        if places(&bench.kernel) != before {
            wrong.push(format!("{what}: {before:?} became {:?}", places(&bench.kernel)));
        }
        let pinned = pinned(&bench.kernel);
        for (place, program) in running(&bench.kernel) {
            if !pinned.contains(&program) {
                wrong.push(format!("{what}: program {program} at {place} lost its pin"));
            }
        }
        let (_engine, report) = bench.start();
        if !report.problems.is_empty() || running(&bench.kernel).len() != mended {
            wrong.push(format!("{what}: the next start: {report:?}, {:?}", running(&bench.kernel)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn recorded_link_out_of_its_place_survives_a_failed_start() {
    fail_every_call_of_the_start_after("attach the first of a chain", "attach: move into place");
}

#[test]
fn swapped_in_chain_keeps_its_pins_over_a_failed_start() {
    fail_every_call_of_the_start_after("attach the third of a chain", "attach: record");
}

#[test]
fn a_chain_in_a_filter_keeps_its_pins_over_a_start_that_fails() {
    fail_every_call_of_the_start_after("attach the third to clsact", "attach: record");
}

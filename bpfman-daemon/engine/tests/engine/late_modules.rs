//! Programs that cannot be loaded at the start for lack of a kernel module are loaded later.

use std::time::Duration;

use bpfman_model::HookKind;
use bpfmand_engine::{Engine, Standing};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, tracepoint};
use crate::simulated::bench;

fn started_without(bench: &Bench<SimKernel>) -> Engine<SimKernel> {
    let engine = bench.engine();
    let [alpha, trace] = engine.loads(&bench.request("programs", &["alpha", "trace"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(trace, tracepoint("sched_switch"));
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.refuse("alpha");
    let (engine, report) = bench.start();
    assert!(
        report.problems.iter().any(|problem| problem.contains("loading alpha, trace again")),
        "{report:?}"
    );
    engine
}

fn standings(engine: &Engine<SimKernel>) -> Vec<String> {
    let programs = engine.ids().into_iter().map(|id| engine.describe_program(id).unwrap());
    let programs = programs.map(|program| program.managed.unwrap().standing);
    programs.chain(engine.all_links().into_iter().map(|link| link.standing)).map(|s| s.to_string()).collect()
}

fn assert_restored(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) {
    assert_eq!(standings(engine), vec!["ok"; 4]);
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha"]);
    assert_eq!(bench.kernel.snapshot().links.len(), 2);
}

#[test]
fn a_program_comes_back_with_the_module_that_it_needs() {
    let bench = bench();
    let engine = started_without(&bench);
    for _ in 0..2 {
        engine.check_all();
        for standing in standings(&engine) {
            assert!(standing.starts_with("waiting: the program could not be loaded again"), "{standing}");
            assert!(!standing.contains("pin of its link"), "{standing}");
        }
    }
    bench.kernel.accept("alpha");
    engine.check_all();
    assert_eq!(bench.kernel.snapshot().links.len(), 0, "nothing has changed that the daemon sees");
    bench.kernel.load_module("dummy", &[]);
    let report = engine.check_all();
    let says: Vec<String> = report.mended.iter().map(ToString::to_string).collect();
    assert!(says.iter().any(|what| what.contains("is loaded now")), "{says:?}");
    assert_restored(&bench, &engine);
    drop(engine);
    assert_restored(&bench, &bench.engine());
}

#[test]
fn a_program_is_tried_again_after_a_time_without_modules() {
    let bench = bench();
    let engine = started_without(&bench);
    engine.check_all();
    for _ in 0..4 {
        bench.kernel.pass_time(Duration::from_secs(300));
        engine.check_all();
        assert_eq!(bench.kernel.snapshot().links.len(), 0);
    }
    bench.kernel.accept("alpha");
    bench.kernel.pass_time(Duration::from_secs(300));
    engine.check_all();
    assert_restored(&bench, &engine);
}

#[test]
fn a_program_that_was_unloaded_meanwhile_is_not_tried_again() {
    let bench = bench();
    let engine = started_without(&bench);
    for id in engine.ids() {
        engine.unload(id).unwrap();
    }
    bench.kernel.accept("alpha");
    bench.kernel.load_module("dummy", &[]);
    engine.check_all();
    assert_eq!((engine.ids().len(), bench.kernel.snapshot().programs.len()), (0, 0));
}

#[test]
fn a_late_load_that_fails_anywhere_is_made_up_for() {
    let prepared = || {
        let bench = bench();
        let engine = started_without(&bench);
        engine.check_all();
        bench.kernel.accept("alpha");
        bench.kernel.load_module("dummy", &[]);
        (bench, engine)
    };
    let (bench, engine) = prepared();
    bench.kernel.note_calls();
    engine.check_all();
    assert_restored(&bench, &engine);
    let calls = bench.kernel.calls().len() as u64;
    assert!(calls > 20, "so few calls: {calls}");
    for call in 1..=calls {
        let (bench, engine) = prepared();
        bench.kernel.fail_call(call);
        engine.check_all();
        bench.kernel.fail_call(0);
        for _ in 0..2 {
            bench.kernel.pass_time(Duration::from_secs(300));
            engine.check_all();
        }
        assert_restored(&bench, &engine);
        assert!(engine.all_links().iter().all(|link| link.standing == Standing::Running), "call {call}");
    }
}

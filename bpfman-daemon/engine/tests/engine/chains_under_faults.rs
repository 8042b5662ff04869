//! Parts of a chain stay while a hook may run it, whatever fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bpfman_model::{AttachPoint, Direction, HookKind, ProgramId};
use bpfmand_engine::{Engine, EngineOptions, HookChange, StepObserver, SwitchCaller, UpdateLinkRequest};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, pins};
use crate::durability::{BREAK, WELL, fickle_options};
use crate::replacements::replacement;
use crate::simulated::bench;

const XDP: HookKind = HookKind::Xdp;

fn hook_pin(bench: &Bench<SimKernel>) -> String {
    pins(&*bench.kernel, Path::new("xdp")).remove(0)
}

fn running(bench: &Bench<SimKernel>) -> ProgramId {
    let link = bench.kernel.open_pin(Path::new(&hook_pin(bench))).unwrap().unwrap();
    bench.kernel.link_of(&link).unwrap().program
}

struct BreakAtSwap(Arc<AtomicU8>);

impl StepObserver for BreakAtSwap {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("chain", "swap") {
            self.0.store(BREAK, Ordering::SeqCst);
        }
    }
}

#[test]
fn chain_restored_by_a_start_that_cannot_record_it_is_removed() {
    let bench = bench();
    let mood = Arc::new(AtomicU8::new(WELL));
    let tame = {
        let engine = Engine::open(Arc::clone(&bench.kernel), fickle_options(&bench, &mood)).unwrap();
        engine.recover().unwrap();
        for program in engine.loads(&bench.request("programs", &["alpha", "bravo"])) {
            engine.attached(program, bench.xdp(1));
        }
        engine.loads(&bench.request("refused", &["tame"]))[0]
    };
    {
        let kernel = &*bench.kernel;
        let open = |id| kernel.open_program(id).unwrap().unwrap();
        let link = kernel.open_pin(Path::new(&hook_pin(&bench))).unwrap().unwrap();
        kernel.replace(&link, &open(tame), &open(running(&bench))).unwrap();
        for pin in pins(kernel, Path::new("chains")) {
            kernel.unpin(Path::new(&pin)).unwrap();
        }
    }
    let observer = Arc::new(BreakAtSwap(Arc::clone(&mood)));
    let options = EngineOptions { observer, ..fickle_options(&bench, &mood) };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    let report = engine.recover().unwrap();
    assert!(!report.problems.is_empty());
    drop(engine);
    assert_eq!(running(&bench), tame, "what nobody recorded was swapped back before its pins went");
    mood.store(WELL, Ordering::SeqCst);
    let engine = Engine::open(Arc::clone(&bench.kernel), fickle_options(&bench, &mood)).unwrap();
    assert_eq!(engine.recover().unwrap().problems, Vec::<String>::new());
    assert_eq!(engine.names(&bench.left(), XDP).len(), 2);
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
}

#[test]
fn failed_replacement_swaps_hooks_back_before_removing_pins() {
    let replace = |fail: Option<u64>| {
        let bench = bench();
        let engine = bench.engine();
        let names = ["alpha", "bravo", "charlie"];
        let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
        let right = match bench.xdp(1) {
            AttachPoint::Xdp { priority, proceed_on, .. } => {
                AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
            }
            other => other,
        };
        engine.attached(alpha, bench.xdp(1));
        engine.attached(bravo, bench.xdp(1));
        engine.attached(alpha, right.clone());
        engine.attached(charlie, right);
        bench.kernel.note_calls();
        bench.kernel.fail_call(fail.unwrap_or(0));
        let result = engine.replace_program(&replacement(&bench, alpha, "second"));
        assert_eq!(result.is_err(), fail.is_some(), "{result:?}");
        bench.kernel.calls()
    };
    let calls = replace(None);
    let swaps: Vec<_> = (0..calls.len()).filter(|at| calls[*at] == "replace").collect();
    assert_eq!(swaps.len(), 2, "a hook each");
    let calls = replace(Some(swaps[1] as u64 + 1));
    let after = &calls[swaps[1] + 1..];
    let back = after.iter().position(|call| *call == "replace").unwrap();
    let unpin = after.iter().position(|call| *call == "unpin").unwrap();
    assert!(back < unpin, "{after:?}");
}

#[test]
fn reentered_hook_keeps_its_switches_and_counters() {
    let bench = bench();
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie"];
    let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(1));
    let change =
        HookChange { keep_attached: Some(true), as_subprograms: Some(true), ..HookChange::default() };
    engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap();
    crate::crashes::count(&bench);
    let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
    let runs = || -> u64 {
        let counted = engine.chain_counters(&key).unwrap().unwrap();
        counted.links.iter().map(|link| link.runs).sum()
    };
    let before = runs();
    assert!(before > 0);
    bench.kernel.unpin(Path::new(&hook_pin(&bench))).unwrap();
    engine.attached(charlie, bench.xdp(1));
    let switches = engine.show_chain(&bench.left(), XDP).unwrap().switches;
    assert!(switches.keep_attached && switches.as_subprograms, "{switches:?}");
    assert_eq!(runs(), before);
}

#[test]
fn chain_of_a_link_that_could_not_be_ended_is_removed_later() {
    let detach = |fail_from: u64| {
        let bench = bench();
        let engine = bench.engine();
        let [alpha, tango] = engine.loads(&bench.request("programs", &["alpha", "tango"]))[..] else {
            panic!()
        };
        let link = engine.attached(tango, bench.tc(Direction::Ingress, 1));
        assert!(!pins(&*bench.kernel, Path::new("chains")).is_empty());
        bench.kernel.note_calls();
        bench.kernel.fail_from(fail_from);
        assert_eq!(engine.detach(link).is_err(), fail_from > 0);
        bench.kernel.fail_call(0);
        let calls = bench.kernel.calls();
        if fail_from > 0 {
            assert!(!pins(&*bench.kernel, Path::new("chains")).is_empty(), "its link runs it still");
        }
        engine.attached(alpha, bench.xdp(1));
        assert_eq!(pins(&*bench.kernel, Path::new("chains")), Vec::<String>::new());
        assert_eq!(pins(&*bench.kernel, Path::new("tc-ingress")), Vec::<String>::new());
        calls
    };
    let calls = detach(0);
    detach(1 + calls.iter().position(|call| *call == "end_link").unwrap() as u64);
}

#[test]
fn a_bridge_keeps_its_array_until_no_packet_is_inside() {
    let bench = bench();
    let engine = bench.engine();
    let [xray, yankee] = engine.loads(&bench.request("programs", &["xray", "yankee"]))[..] else { panic!() };
    let link = engine.attached(xray, bench.tcx(1));
    engine.attached(yankee, bench.tcx(2));
    bench.kernel.note_calls();
    engine.update_link(&UpdateLinkRequest { priority: Some(9), ..UpdateLinkRequest::of(link) }).unwrap();
    assert_eq!(engine.names(&bench.left(), HookKind::Tcx(Direction::Ingress)), ["yankee", "xray"]);
    let calls = bench.kernel.calls();
    let last = |name: &str| calls.iter().rposition(|call| *call == name).unwrap();
    assert!(last("replace") < last("wait_for_readers"), "{calls:?}");
    assert!(last("wait_for_readers") < last("unpin"), "{calls:?}");
}

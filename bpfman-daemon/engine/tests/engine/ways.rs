//! Chains of several programs: isolated members, cuts after a verifier rejection, and damage by third parties.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKind, OrderIntent, ProgramId, ProgramType, Reason, Selector,
    Sharing,
};
use bpfmand_engine::{Engine, EngineError, HookCheck, ReplaceRequest, StepObserver, UpdateLinkRequest};
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench, TEST_TIMEOUT, Testable, pins};
use crate::replacements::replacement;

const XDP: HookKind = HookKind::Xdp;

fn isolated<K: Testable>(
    engine: &Engine<K>,
    program: ProgramId,
    point: AttachPoint,
) -> Result<bpfman_model::LinkId, EngineError> {
    let sharing = Sharing { isolated: true, ..Sharing::default() };
    let order = OrderIntent::default();
    let request = AttachRequest {
        ttl: None,
        program,
        point,
        order,
        sharing,
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    };
    engine.attach(&request).map(|link| link.record.id)
}

fn an_isolated_member_stays_the_program_that_it_is<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    let link = isolated(&engine, bravo, bench.xdp(2)).unwrap();
    let view = engine.show_chain(&bench.left(), XDP).unwrap();
    let ways: Vec<&str> = view.members.iter().map(|member| member.way.name()).collect();
    assert_eq!(ways, ["inline", "own"]);
    assert!(view.members[1].way_reason.contains("isolated"), "{view:?}");
    let chain = pins(&*bench.kernel, Path::new("chains"));
    assert!(chain.iter().any(|pin| pin.ends_with("/array_0")), "{chain:?}");
    let verified = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    assert!(verified.matches(), "{verified:#?}");
    for wanted in [false, true] {
        let change = UpdateLinkRequest { isolated: Some(wanted), ..UpdateLinkRequest::of(link) };
        engine.update_link(&change).unwrap();
        let way = engine.show_chain(&bench.left(), XDP).unwrap().members[1].way.name();
        assert_eq!(way, if wanted { "own" } else { "inline" });
    }
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().members[1].way.name(), "own");
    let tracing = isolated(&engine, alpha, crate::bench::tracepoint("sched_switch")).unwrap_err();
    assert_eq!(tracing.kind(), Reason::Invalid, "{tracing}");
}

fn isolated_member_replaced_by_the_same_bytecode_is_the_new_one<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    isolated(&engine, bravo, bench.xdp(2)).unwrap();
    let request = ReplaceRequest { keep_old: false, ..replacement(bench, bravo, "programs") };
    engine.replace_program(&request).unwrap();
    let began = Instant::now();
    while bench.kernel.program(bravo).unwrap().is_some() {
        assert!(began.elapsed() < TEST_TIMEOUT, "the old program stays loaded");
        std::thread::yield_now();
    }
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
}

fn a_chain_whose_array_lost_its_pin_is_mended<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    isolated(&engine, bravo, bench.xdp(2)).unwrap();
    let tear = || {
        let all = pins(&*bench.kernel, Path::new("chains"));
        let array = all.iter().find(|pin| pin.ends_with("/array_0")).unwrap();
        bench.kernel.unpin(Path::new(array)).unwrap();
    };
    tear();
    let verified = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    let wrong: Vec<_> = verified.parts.iter().filter(|part| !part.matches).collect();
    assert_eq!(wrong.len(), 1, "{verified:#?}");
    assert!(wrong[0].found.contains("pin was removed"), "{verified:#?}");
    let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
    assert!(matches!(engine.check_hook(&key).unwrap(), HookCheck::Mended(_)));
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    tear();
    drop(engine);
    let engine = bench.engine();
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
}

crate::on_both_kernels!(
    an_isolated_member_stays_the_program_that_it_is,
    isolated_member_replaced_by_the_same_bytecode_is_the_new_one,
    a_chain_whose_array_lost_its_pin_is_mended,
);

#[test]
fn rejected_splice_becomes_a_chain_of_another_strategy() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    let link = engine.attached(bravo, bench.xdp(2));
    let entry = engine.chain(&bench.left(), XDP).unwrap().entry.unwrap();
    engine.detach(link).unwrap();
    bench.kernel.refuse_longer_than(entry.bytes_xlated as usize / 8 - 1);
    let link = engine.attached(bravo, bench.xdp(2));
    let view = engine.show_chain(&bench.left(), XDP).unwrap();
    assert!(view.fallbacks > 0, "{view:?}");
    assert!(view.reason.contains("fallback"), "{}", view.reason);
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
    engine.detach(link).unwrap();
    let before = bench.kernel.snapshot();
    bench.kernel.refuse_longer_than(1);
    let error = engine.try_attach(bravo, bench.xdp(2)).unwrap_err();
    assert_eq!(error.kind(), Reason::KernelRefused);
    let text = error.to_string();
    assert!(text.contains("xdp:left") && text.contains("\"alpha\""), "{text}");
    assert!(text.contains("invalid func unknown#0"), "{text}");
    assert!(error.verifier_log().is_some());
    assert_eq!(bench.kernel.snapshot(), before);
}

/// veth refuses programs without support for fragments if the MTU needs several buffers.
#[test]
fn members_that_an_mtu_needs_frags_of_are_named() {
    let bench = crate::linux::bench("members_that_an_mtu_needs_frags_of_are_named");
    let engine = bench.engine();
    let [alpha, frags] = engine.loads(&bench.request("programs", &["alpha", "frags"]))[..] else { panic!() };
    crate::linux::set_mtu(&bench, 9000);
    engine.attached(frags, bench.xdp(1));
    let before = pins(&*bench.kernel, Path::new(""));
    let error = engine.try_attach(alpha, bench.xdp(1)).unwrap_err();
    assert_eq!(error.kind(), Reason::Precondition, "{error}");
    assert!(error.to_string().contains("which alpha does not handle"), "{error}");
    assert!(error.hint().unwrap().to_string().contains("xdp.frags"));
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    crate::linux::set_mtu(&bench, 1500);
    engine.attached(alpha, bench.xdp(1));
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "frags"]);
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self, what: fn(&(bool, bool)) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) =
            self.changed.wait_timeout_while(state, crate::bench::TEST_TIMEOUT, |state| !what(state)).unwrap();
        assert!(!timeout.timed_out());
    }

    fn set(&self, change: fn(&mut (bool, bool))) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl StepObserver for Gate {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("chain", "load") && std::thread::current().name() == Some("heavy") {
            self.set(|(reached, _)| *reached = true);
            self.wait(|(_, open)| *open);
        }
    }
}

#[test]
fn hook_changes_while_the_chain_of_another_is_verified() {
    let bench = crate::simulated::bench();
    let gate = Arc::new(Gate::default());
    let engine = bench.watched(Arc::clone(&gate) as Arc<dyn StepObserver>);
    let names = ["alpha", "bravo", "charlie", "delta"];
    let [alpha, bravo, charlie, delta] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!()
    };
    engine.attached(alpha, bench.xdp(1));
    let right = |priority| match bench.xdp(priority) {
        AttachPoint::Xdp { priority, proceed_on, .. } => {
            AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    std::thread::scope(|scope| {
        let heavy = std::thread::Builder::new().name("heavy".to_owned());
        let point = bench.xdp(2);
        heavy.spawn_scoped(scope, || engine.attached(bravo, point)).unwrap();
        gate.wait(|(reached, _)| *reached);
        engine.attached(charlie, right(1));
        engine.attached(delta, right(2));
        assert_eq!(engine.names(&bench.interface("right"), XDP), ["charlie", "delta"]);
        assert_eq!(engine.names(&bench.left(), XDP), ["alpha"], "the old chain serves until the swap");
        gate.set(|(_, open)| *open = true);
    });
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo"]);
}

/// Lists are bound to the BTF with which they were created: maps and members share one.
#[test]
fn members_that_keep_lists_in_maps_are_loaded_and_chained() {
    let bench = crate::linux::bench("members_that_keep_lists_in_maps_are_loaded_and_chained");
    if bench.kernel.features().version < (6, 4) {
        println!("skipped: Linux before 6.4 has no lists in maps");
        return;
    }
    let engine = bench.engine();
    let mut request = bench.request("objects", &["push_to_list", "pop_from_list"]);
    request.programs.iter_mut().for_each(|program| program.program_type = ProgramType::Tc);
    let [push, pop] = engine.loads(&request)[..] else { panic!() };
    engine.attached(push, bench.tc(Direction::Ingress, 1));
    engine.attached(pop, bench.tc(Direction::Ingress, 2));
    let hook = HookKind::Tc(Direction::Ingress);
    let view = engine.show_chain(&bench.left(), hook).unwrap();
    assert!(view.members.iter().all(|member| member.way.name() == "own"), "{view:?}");
    let list = engine.list(&Selector { managed_only: true, ..Selector::default() }).unwrap();
    let btf: Vec<_> = list.iter().map(|program| program.facts.as_ref().unwrap().btf_id).collect();
    assert_eq!(btf[0], btf[1], "programs and maps of one load have one type information");
    for _ in 0..3 {
        assert_eq!(bench.kernel.verdict(push), 3);
        assert_eq!(bench.kernel.verdict(pop), 3);
    }
    assert_eq!(bench.kernel.verdict(pop), 0, "the list is empty again");
}

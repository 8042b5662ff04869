//! Attach and detach: the order of chains, and the program that the kernel runs.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKind, MAX_CHAIN_MEMBERS, OrderIntent, ProbeReader, Reason,
};
use bpfmand_engine::{Engine, EngineError, EngineOptions, OwnerBudget};

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;
const TC: HookKind = HookKind::Tc(Direction::Ingress);
const TCX: HookKind = HookKind::Tcx(Direction::Ingress);

fn entry<K: Testable>(bench: &Bench<K>, engine: &bpfmand_engine::Engine<K>, kind: HookKind) -> u32 {
    engine.chain(&bench.left(), kind).unwrap().entry.unwrap().id.0
}

fn xdp_members_run_by_priority_and_newcomers_first_among_equals<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "delta"];
    let [alpha, bravo, charlie, delta] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!()
    };
    let order = || engine.names(&bench.left(), XDP);
    let first = engine.attached(alpha, bench.xdp(50));
    assert_eq!(engine.chain(&bench.left(), XDP).unwrap().strategy, "direct");
    assert_eq!(entry(bench, &engine, XDP), alpha.0);
    engine.attached(delta, bench.xdp(10));
    assert_eq!(order(), ["delta", "alpha"]);
    assert_eq!(engine.chain(&bench.left(), XDP).unwrap().strategy, "splice");
    let bravo_link = engine.attached(bravo, bench.xdp(50));
    assert_eq!(order(), ["delta", "bravo", "alpha"]);
    engine.attached(charlie, bench.xdp(50));
    assert_eq!(order(), ["delta", "charlie", "alpha", "bravo"]);
    engine.detach(first).unwrap();
    assert_eq!(order(), ["delta", "bravo", "charlie"]);
    let again = engine.attached(alpha, bench.xdp(50));
    engine.detach(bravo_link).unwrap();
    assert_eq!(order(), ["delta", "alpha", "charlie"]);
    engine.detach(again).unwrap();
    assert_eq!(engine.detach(again).unwrap_err().kind(), Reason::NotFound);
    for link in engine.all_links() {
        assert_eq!(link.standing, Standing::Running);
        engine.detach(link.record.id).unwrap();
    }
    assert!(engine.chain(&bench.left(), XDP).is_none());
    assert!(pins(&*bench.kernel, Path::new("xdp")).is_empty());
}

fn tc_members_run_by_priority<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    let order = || engine.names(&bench.left(), TC);
    engine.attached(tulip, bench.tc(Direction::Ingress, 7));
    let alone = entry(bench, &engine, TC);
    let link = engine.attached(tango, bench.tc(Direction::Ingress, 3));
    assert_eq!(order(), ["tango", "tulip"]);
    engine.attached(tulip, bench.tc(Direction::Ingress, 0));
    assert_eq!(order(), ["tulip", "tango", "tulip"]);
    engine.attached(tango, bench.tc(Direction::Egress, 3));
    assert_eq!(engine.names(&bench.left(), HookKind::Tc(Direction::Egress)), ["tango"]);
    engine.detach(link).unwrap();
    assert_eq!(order(), ["tulip", "tulip"]);
    assert_ne!(entry(bench, &engine, TC), alone);
    engine.unload(tulip).unwrap();
    assert!(engine.chain(&bench.left(), TC).is_none());
    engine.unload(tango).unwrap();
    assert!(engine.all_links().is_empty());
    assert!(pins(&*bench.kernel, Path::new("")).is_empty());
}

fn the_eleventh_is_refused_and_nothing_changes<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    for n in 0..MAX_CHAIN_MEMBERS {
        let program = if n % 2 == 0 { alpha } else { bravo };
        engine.attached(program, bench.xdp(n as i32));
    }
    let (links, running) = (engine.all_links(), entry(bench, &engine, XDP));
    let error = engine.try_attach(alpha, bench.xdp(0)).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert_eq!((engine.all_links(), entry(bench, &engine, XDP)), (links, running));
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
}

fn unloading_takes_a_program_out_of_every_chain<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let right = |priority| match bench.xdp(priority) {
        bpfman_model::AttachPoint::Xdp { proceed_on, priority, .. } => {
            bpfman_model::AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    for priority in [1, 2, 3] {
        engine.attached(alpha, bench.xdp(priority));
    }
    engine.attached(bravo, bench.xdp(2));
    engine.attached(alpha, right(0));
    engine.attached(bravo, right(0));
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo", "alpha", "alpha"]);
    engine.unload(alpha).unwrap();
    for interface in [bench.left(), bench.interface("right")] {
        assert_eq!(engine.names(&interface, XDP), ["bravo"]);
        assert_eq!(engine.chain(&interface, XDP).unwrap().entry.unwrap().id, bravo);
    }
    assert_eq!(engine.all_links().len(), 2);
    assert_eq!(bench.kernel.program(alpha).unwrap(), None);
}

fn tcx_links_stand_in_the_kernels_list_by_priority<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let engine = bench.engine();
    let names = ["xray", "yankee", "zulu"];
    let [xray, yankee, zulu] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    engine.attached(zulu, bench.tcx(5));
    let second = engine.attached(xray, bench.tcx(5));
    engine.attached(yankee, bench.tcx(1));
    assert_eq!(engine.names(&bench.left(), TCX), ["yankee", "zulu", "xray"]);
    let error = engine.try_attach(xray, bench.tcx(9)).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    engine.detach(second).unwrap();
    assert_eq!(engine.names(&bench.left(), TCX), ["yankee", "zulu"]);
    engine.attached(xray, bench.tcx(3));
    assert_eq!(engine.names(&bench.left(), TCX), ["yankee", "xray", "zulu"]);
    assert!(
        engine
            .all_links()
            .iter()
            .all(|link| link.standing.is_running() && link.running == Some(link.program.id))
    );
}

fn a_program_is_attached_to_many_trace_points_but_to_each_once<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let trace = engine.loads(&bench.request("programs", &["trace"]))[0];
    let points = ["sched_switch", "sched_process_exec", "sched_process_exit"].map(tracepoint);
    let links: Vec<_> = points.into_iter().map(|point| engine.attached(trace, point)).collect();
    let before = pins(&*bench.kernel, Path::new(""));
    assert_eq!(before.iter().filter(|pin| pin.starts_with("links/")).count(), 3);
    engine.try_attach(trace, tracepoint("sched_switch")).unwrap_err();
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    engine.detach(links[0]).unwrap();
    let again = engine.attached(trace, tracepoint("sched_switch"));
    let there: Vec<_> = engine.all_links().iter().map(|link| link.record.id).collect();
    assert_eq!(there, [links[1], links[2], again]);
    engine.unload(trace).unwrap();
    assert!(pins(&*bench.kernel, Path::new("")).is_empty());
}

fn wrong_attachments_change_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, trace] = engine.loads(&bench.request("programs", &["alpha", "trace"]))[..] else { panic!() };
    let nowhere = |name: &str| bpfman_model::AttachPoint::Xdp {
        interface: bench.interface(name),
        priority: 0,
        proceed_on: bpfman_model::ProceedOn::default_for(bpfman_model::VerdictFamily::Xdp),
    };
    let cases = [
        (alpha, tracepoint("sched_switch"), Reason::Precondition),
        (trace, bench.xdp(0), Reason::Precondition),
        (alpha, bench.xdp(-1), Reason::Invalid),
        (alpha, nowhere("nowhere"), Reason::Invalid),
        (alpha, nowhere(""), Reason::Invalid),
        (bpfman_model::ProgramId(u32::MAX), bench.xdp(0), Reason::NotFound),
    ];
    let before = pins(&*bench.kernel, Path::new(""));
    for (program, point, kind) in cases {
        let error = engine.try_attach(program, point).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert!(engine.all_links().is_empty());
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
}

crate::on_both_kernels!(
    xdp_members_run_by_priority_and_newcomers_first_among_equals,
    tc_members_run_by_priority,
    the_eleventh_is_refused_and_nothing_changes,
    unloading_takes_a_program_out_of_every_chain,
    tcx_links_stand_in_the_kernels_list_by_priority,
    a_program_is_attached_to_many_trace_points_but_to_each_once,
    wrong_attachments_change_nothing,
);

mod by_clsact {
    #[test]
    fn simulated_tc_members_run_by_priority() {
        super::tc_members_run_by_priority(&crate::bench::Bench {
            tc_by_clsact: true,
            ..crate::simulated::bench()
        });
    }

    #[test]
    fn simulated_tc_members_run_by_priority_before_tcx() {
        let bench = crate::simulated::bench_of(bpfmand_kernel::sim::SimOptions::linux_6_1());
        super::tc_members_run_by_priority(&bench);
    }

    #[test]
    fn linux_tc_members_run_by_priority() {
        super::tc_members_run_by_priority(&crate::bench::Bench {
            tc_by_clsact: true,
            ..crate::linux::bench("clsact")
        });
    }
}

#[test]
fn program_is_attached_twice_only_where_that_is_meant() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let of = |program, point| AttachRequest {
        ttl: None,
        program,
        point,
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    };
    let first = engine.attach_once(&of(alpha, bench.xdp(1)), ProbeReader::Root).unwrap();
    let before = bench.kernel.snapshot();
    let refused = engine.attach_once(&of(alpha, bench.xdp(2)), ProbeReader::Root).unwrap_err();
    let is_named = matches!(refused, EngineError::Repeated { link, .. } if link == first.record.id);
    assert!(is_named && refused.kind() == Reason::Conflict, "{refused}");
    assert!(refused.hint().unwrap().to_string().contains("--again"));
    assert_eq!(bench.kernel.snapshot(), before);
    engine.attach_once(&of(bravo, bench.xdp(2)), ProbeReader::Root).unwrap();
    let right = match bench.xdp(1) {
        AttachPoint::Xdp { priority, proceed_on, .. } => {
            AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    engine.attach_once(&of(alpha, right), ProbeReader::Root).unwrap();
    engine.attach(&of(alpha, bench.xdp(2))).unwrap();
    assert_eq!(engine.all_links().len(), 4);
}

#[test]
fn an_owner_has_no_more_members_than_the_budget_allows() {
    let bench = crate::simulated::bench();
    let owner_budget = OwnerBudget { members: Some(2), verified_insns: None };
    let options = EngineOptions { owner_budget, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    let before = bench.kernel.snapshot();
    let mut request = AttachRequest {
        ttl: None,
        program: charlie,
        point: bench.xdp(3),
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    };
    let refused = engine.attach(&request).unwrap_err();
    assert_eq!(refused.kind(), Reason::Conflict);
    let told = "root would have 3 members on xdp:left@";
    assert!(refused.to_string().starts_with(told), "{refused}");
    assert_eq!(bench.kernel.snapshot(), before);
    request.metadata.insert("bpfman_application".to_owned(), "other".to_owned());
    engine.attach(&request).unwrap();
    let right = |point| match point {
        AttachPoint::Xdp { priority, proceed_on, .. } => {
            AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    engine.attached(charlie, right(bench.xdp(3)));
}

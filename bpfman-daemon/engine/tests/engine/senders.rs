//! Tenants' members that could send packets past the machine's programs: left out while their chain cannot be built.

use bpfman_model::{AttachPoint, Direction, HookKind, LinkId, ProceedOn, ProgramId, Reason, VerdictFamily};
use bpfmand_engine::{Engine, Loss, Standing};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench, Testable};
use crate::extensions::{EXTENDED, extension};
use crate::ranks::of_namespace;
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;

fn runs<K: Kernel>(bench: &Bench<K>) -> Option<ProgramId> {
    let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    contents.entries.first().and_then(|entry| entry.program)
}

fn of_tenant<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, name: &str) -> ProgramId {
    engine.loads(&of_namespace(bench.request("programs", &[name])))[0]
}

fn guard<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> (LinkId, Vec<String>) {
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    let attached = engine.try_attach(tango, bench.tc(Direction::Ingress, 1)).unwrap();
    (attached.record.id, attached.warnings)
}

fn is_withheld<K: Testable>(engine: &Engine<K>, link: LinkId) -> bool {
    matches!(engine.describe_link(link).unwrap().standing, Standing::Withheld { .. })
}

fn assert_back<K: Testable>(engine: &Engine<K>, bench: &Bench<K>, link: LinkId) {
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!(chain.strategy, "splice");
    assert_eq!(chain.entry.map(|entry| entry.id), runs(bench));
    assert!(engine.check_all().lost.is_empty());
}

fn an_extended_program_is_left_out_while_the_machine_is_there<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().freplace {
        println!("skipped: this kernel does not let programs replace functions of others (freplace)");
        return;
    }
    let engine = bench.engine();
    let filter = engine.loads(&of_namespace(bench.request(EXTENDED, &["filter"])))[0];
    let tenant = engine.attached(filter, bench.xdp(1));
    let drops = engine.loads(&of_namespace(extension(bench, "drops", filter)))[0];
    let extends = engine.attached(drops, AttachPoint::Freplace);
    assert_eq!(runs(bench), Some(filter));
    let (tango, warnings) = guard(bench, &engine);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("xdp:left") && warning.contains("left out of its chain"), "{warning}");
    assert!(runs(bench).is_some_and(|now| now != filter), "it runs no more");
    assert!(is_withheld(&engine, tenant));
    assert_eq!(engine.chain(&bench.left(), XDP).unwrap().strategy, "empty");
    drop(engine);
    let engine = bench.engine();
    assert!(runs(bench).is_some_and(|now| now != filter), "a new daemon");
    assert!(is_withheld(&engine, tenant));
    engine.detach(extends).unwrap();
    assert_back(&engine, bench, tenant);
    engine.detach(tango).unwrap();
    assert_eq!(runs(bench), Some(filter), "it is attached itself again");
    engine.attached(drops, AttachPoint::Freplace);
    let (tango, _) = guard(bench, &engine);
    assert!(is_withheld(&engine, tenant));
    engine.detach(tango).unwrap();
    assert_eq!(runs(bench), Some(filter));
    assert_eq!(engine.describe_link(tenant).unwrap().standing, Standing::Running);
    assert!(engine.check_all().lost.is_empty());
}

/// A tenant that extends its own program cannot keep the machine's programs from the hook.
fn extension_of_a_tenant_keeps_no_program_of_the_machine_away<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().freplace {
        println!("skipped: this kernel does not let programs replace functions of others (freplace)");
        return;
    }
    let engine = bench.engine();
    let filter = engine.loads(&of_namespace(bench.request(EXTENDED, &["filter"])))[0];
    let tenant = engine.attached(filter, bench.xdp(1));
    let drops = engine.loads(&of_namespace(extension(bench, "drops", filter)))[0];
    let extends = engine.attached(drops, AttachPoint::Freplace);
    let other = of_tenant(bench, &engine, "bravo");
    let refused = engine.try_attach(other, bench.xdp(2)).unwrap_err();
    assert!(refused.to_string().contains("\"filter\""), "{refused}");
    assert_eq!(runs(bench), Some(filter));
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let attached = engine.try_attach(alpha, bench.xdp(3)).unwrap();
    let [warning] = &attached.warnings[..] else { panic!("{attached:?}") };
    assert!(warning.starts_with("xdp:left") && warning.contains("left out"), "{warning}");
    assert_eq!(runs(bench), Some(alpha), "the machine's alone");
    let standing = engine.describe_link(tenant).unwrap().standing;
    assert!(matches!(&standing, Standing::Withheld { why } if why.contains("\"drops\"")), "{standing}");
    assert!(engine.check_all().lost.is_empty());
    drop(engine);
    let engine = bench.engine();
    assert_eq!(runs(bench), Some(alpha), "a new daemon");
    assert!(is_withheld(&engine, tenant));
    engine.detach(extends).unwrap();
    assert_eq!(engine.describe_link(tenant).unwrap().standing, Standing::Running);
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "filter"]);
    // A chain member cannot be extended; after the machine's program is detached, the tenant's program is no member.
    engine.try_attach(drops, AttachPoint::Freplace).unwrap_err();
    engine.detach(attached.record.id).unwrap();
    assert_eq!(runs(bench), Some(filter));
    engine.attached(drops, AttachPoint::Freplace);
    let alpha_again = engine.attached(alpha, bench.xdp(3));
    assert!(is_withheld(&engine, tenant));
    engine.detach(alpha_again).unwrap();
    assert_eq!(runs(bench), Some(filter));
    assert_eq!(engine.describe_link(tenant).unwrap().standing, Standing::Running);
}

fn extended_program_does_not_join_one_of_the_machine<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().freplace {
        println!("skipped: this kernel does not let programs replace functions of others (freplace)");
        return;
    }
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(3));
    let filter = engine.loads(&of_namespace(bench.request(EXTENDED, &["filter"])))[0];
    let drops = engine.loads(&of_namespace(extension(bench, "drops", filter)))[0];
    engine.attached(drops, AttachPoint::Freplace);
    let refused = engine.try_attach(filter, bench.xdp(1)).unwrap_err();
    assert!(refused.to_string().contains("\"filter\""), "{refused}");
    assert_eq!((runs(bench), engine.all_links().len()), (Some(alpha), 2));
}

crate::on_both_kernels!(
    an_extended_program_is_left_out_while_the_machine_is_there,
    extension_of_a_tenant_keeps_no_program_of_the_machine_away,
    extended_program_does_not_join_one_of_the_machine,
);

#[test]
fn members_of_the_machine_run_on_without_those_of_tenants() {
    let bench = simulated();
    let engine = bench.engine();
    let bravo = engine.loads(&bench.request("programs", &["bravo"]))[0];
    let own = engine.attached(bravo, bench.xdp(2));
    let alpha = of_tenant(&bench, &engine, "alpha");
    let tenant = engine.attached(alpha, bench.xdp(1));
    bench.kernel.refuse("xdp_chain");
    let (_, warnings) = guard(&bench, &engine);
    assert!(warnings[0].contains("left out"), "{warnings:?}");
    assert_eq!(runs(&bench), Some(bravo), "the machine's alone");
    assert!(is_withheld(&engine, tenant));
    assert_eq!(engine.describe_link(own).unwrap().standing, Standing::Running);
    bench.kernel.accept("xdp_chain");
    engine.detach(own).unwrap();
    assert_back(&engine, &bench, tenant);
    engine.attached(engine.loads(&bench.request("programs", &["charlie"]))[0], bench.xdp(3));
    assert_back(&engine, &bench, tenant);
    assert_eq!(engine.names(&bench.left(), XDP), ["charlie", "alpha"]);
}

#[test]
fn a_chain_that_runs_in_no_way_is_detached_until_it_can() {
    let bench = simulated();
    let engine = bench.engine();
    let alpha = of_tenant(&bench, &engine, "alpha");
    let tenant = engine.attached(alpha, bench.xdp(1));
    bench.kernel.refuse("xdp_chain");
    let (tango, warnings) = guard(&bench, &engine);
    assert!(warnings[0].contains("detached"), "{warnings:?}");
    assert_eq!(runs(&bench), None);
    let standing = engine.describe_link(tenant).unwrap().standing;
    assert!(matches!(standing, Standing::Lost { how: Loss::Sends, .. }), "{standing}");
    assert_eq!(engine.check_all().lost.len(), 1);
    assert_eq!(runs(&bench), None, "the check attaches nothing");
    drop(engine);
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains("xdp:left")), "{report:?}");
    assert_eq!(runs(&bench), None, "a new daemon");
    bench.kernel.accept("xdp_chain");
    engine.check_all();
    assert_back(&engine, &bench, tenant);
    bench.kernel.refuse("xdp_chain");
    engine.detach(tango).unwrap();
    assert_eq!(runs(&bench), Some(alpha), "nothing has to be built");
}

/// No chain holds back the copies of programs that its members call.
#[test]
fn programs_of_arrays_of_tenants_send_no_copies() {
    let bench = simulated();
    let engine = bench.engine();
    let load = || bench.request("copies", &["tc_jumps", "tc_copies"]);
    let refused = engine.load(&of_namespace(load())).unwrap_err();
    assert_eq!(refused.kind(), Reason::Denied, "{refused}");
    assert!(refused.to_string().contains("bpf_clone_redirect in a program of a program array"), "{refused}");
    assert!(engine.ids().is_empty());
    engine.loads(&load());
}

#[test]
fn chains_hold_back_copies_where_the_machine_is() {
    let bench = simulated();
    let engine = bench.engine();
    let directions = [Direction::Egress, Direction::Ingress];
    let tags = || {
        directions.map(|direction| {
            let kind = HookKind::Tc(direction);
            let verified = engine.verify_chain(&bench.left(), kind, None).unwrap();
            assert!(verified.matches(), "{verified:?}");
            engine.chain(&bench.left(), kind).unwrap().entry.unwrap().tag
        })
    };
    let copies = engine.loads(&of_namespace(bench.request("copy", &["tc_copies"])))[0];
    for direction in directions {
        engine.attached(copies, bench.tc(direction, 1));
    }
    let [out, inwards] = tags();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    let other = AttachPoint::Tc {
        interface: bench.interface("right"),
        direction: Direction::Ingress,
        priority: 1,
        proceed_on: ProceedOn::default_for(VerdictFamily::Tc),
    };
    let wall = engine.attached(tango, other);
    let held = tags();
    assert_ne!(held[0], out);
    assert_eq!(held[1], inwards);
    engine.detach(wall).unwrap();
    assert_eq!(tags(), [out, inwards]);
}

#[test]
fn an_order_that_cannot_be_kept_is_a_warning_and_a_finding() {
    let bench = simulated();
    let engine = bench.engine();
    let out = |priority| bench.tc(Direction::Egress, priority);
    let tcx = |priority| AttachPoint::Tcx { interface: bench.left(), direction: Direction::Egress, priority };
    engine.attached(engine.loads(&bench.request("programs", &["tango"]))[0], out(5));
    engine.attached(engine.loads(&bench.request("programs", &["zulu"]))[0], tcx(0));
    let key = bench.kernel.find_hook(&bench.left(), HookKind::Tcx(Direction::Egress)).unwrap();
    let list = || {
        let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        let names = contents.entries.iter().filter_map(|entry| entry.program);
        names.map(|id| bench.kernel.program(id).unwrap().unwrap().name).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["zulu", "tc_chain"]);
    // The chain has to move before the machine's link, and a move needs a bridge.
    bench.kernel.refuse("bpfman_bridge");
    let tulip = engine.loads(&of_namespace(bench.request("programs", &["tulip"])))[0];
    let attached = engine.try_attach(tulip, out(900)).unwrap();
    assert_eq!(list(), ["zulu", "tc_chain"]);
    let [warning] = &attached.warnings[..] else { panic!("{attached:?}") };
    assert!(warning.contains("do not stand in their order"), "{warning}");
    let concerns = engine.hidden_concerns();
    assert_eq!(concerns.iter().map(|found| found.hook.as_str()).collect::<Vec<_>>().len(), 1, "{concerns:?}");
    bench.kernel.accept("bpfman_bridge");
    engine.check_all();
    assert_eq!(list(), ["tc_chain", "zulu"]);
    assert_eq!(engine.hidden_concerns(), []);
    assert!(engine.describe_link(attached.record.id).unwrap().warnings.is_empty());
}

//! Ranks in libxdp's dispatcher: tenants' programs run behind the machine's, and send nothing past it.

use bpfman_model::{Direction, HookKind};
use bpfmand_engine::{Engine, EngineError, Standing, UpdateLinkRequest};
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, edit_records};
use crate::dispatchers::{Sim, names, put_dispatcher};
use crate::ranks::of_namespace;
use crate::replacements::replacement;
use crate::simulated::bench;

const OTHERS: [(&str, u32); 2] = [("first", 20), ("last", 60)];

fn together(bench: &Sim) -> (Engine<SimKernel>, [bpfman_model::LinkId; 2]) {
    put_dispatcher(bench, 2, &OTHERS);
    let engine = bench.engine();
    let bravo = engine.loads(&of_namespace(bench.request("programs", &["bravo"])))[0];
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let links = [engine.attached(bravo, bench.xdp(10)), engine.attached(alpha, bench.xdp(40))];
    (engine, links)
}

#[test]
fn tenants_stand_behind_the_machine_in_a_dispatcher() {
    let bench = bench();
    let (engine, [tenant, _]) = together(&bench);
    let order = ["first", "alpha", "last", "bravo"];
    assert_eq!(names(&bench), order);
    engine.update_link(&UpdateLinkRequest { priority: Some(0), ..UpdateLinkRequest::of(tenant) }).unwrap();
    assert_eq!(names(&bench), order);
    let bravo = engine.describe_link(tenant).unwrap().program.id;
    engine.replace_program(&replacement(&bench, bravo, "programs")).unwrap();
    assert_eq!(names(&bench), order, "replaced");
    drop(engine);
    drop(bench.engine());
    assert_eq!(names(&bench), order, "a new daemon");
    bench.kernel.reboot();
    put_dispatcher(&bench, 2, &OTHERS);
    let engine = bench.engine();
    assert_eq!(names(&bench), order, "after a reboot");
    assert!(engine.check_all().lost.is_empty());
}

pub fn disown(bench: &Sim, name: &str, owner: &str) {
    edit_records(bench, "programs", |program| {
        if program["name"] == name {
            program["owner"] = owner.into();
        }
    });
    edit_records(bench, "links", |link| drop(link.as_object_mut().unwrap().remove("owner")));
}

/// An earlier version gave tenants' programs the machine's rank, and put them before the machine's programs.
#[test]
fn a_start_puts_slots_of_earlier_versions_in_order() {
    let bench = bench();
    put_dispatcher(&bench, 2, &OTHERS);
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(bravo, bench.xdp(10));
    engine.attached(alpha, bench.xdp(40));
    assert_eq!(names(&bench), ["bravo", "first", "alpha", "last"]);
    drop(engine);
    disown(&bench, "bravo", "application:shop/filter");
    let engine = bench.engine();
    assert_eq!(names(&bench), ["first", "alpha", "last", "bravo"]);
    assert!(engine.check_all().lost.is_empty());
}

/// Nothing holds back the verdicts of programs in a dispatcher's slots.
#[test]
fn tenants_leave_a_dispatcher_when_the_machine_comes() {
    let bench = bench();
    let (engine, [tenant, _]) = together(&bench);
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    let attached = engine.try_attach(tango, bench.tc(Direction::Egress, 1)).unwrap();
    assert_eq!(names(&bench), ["first", "alpha", "last"]);
    let [warning] = &attached.warnings[..] else { panic!("{attached:?}") };
    assert!(warning.contains("left out") && !warning.contains("bravo"), "{warning}");
    let standing = engine.describe_link(tenant).unwrap().standing;
    assert!(matches!(&standing, Standing::Withheld { why } if why.contains("bravo")), "{standing}");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(names(&bench), ["first", "alpha", "last"], "a new daemon");
    let bravo = engine.describe_link(tenant).unwrap().program.id;
    let error = engine.try_attach(bravo, bench.xdp(5)).unwrap_err();
    assert!(matches!(error, EngineError::Dispatcher { .. }), "{error}");
    engine.detach(attached.record.id).unwrap();
    assert_eq!(names(&bench), ["first", "alpha", "last", "bravo"]);
    assert_eq!(engine.describe_link(tenant).unwrap().standing, Standing::Running);
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
}

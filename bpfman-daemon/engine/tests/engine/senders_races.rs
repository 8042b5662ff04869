//! Members of tenants that could send packets: changes by others meanwhile, new versions, warnings and findings.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use bpfman_model::{AttachPoint, Direction, HookKind, LinkId, ProgramId, ProgramType};
use bpfmand_engine::{Engine, EngineError, Standing, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench};
use crate::dispatcher_ranks::disown;
use crate::ranks::of_namespace;
use crate::replacements::replacement;
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;
const OUT: Direction = Direction::Egress;

type Sim = Bench<SimKernel>;

fn load(bench: &Sim, engine: &Engine<SimKernel>, name: &str) -> ProgramId {
    engine.loads(&bench.request("programs", &[name]))[0]
}

fn load_tenants(bench: &Sim, engine: &Engine<SimKernel>, name: &str) -> ProgramId {
    engine.loads(&of_namespace(bench.request("programs", &[name])))[0]
}

fn tcx(bench: &Sim, interface: &str, priority: i32) -> AttachPoint {
    AttachPoint::Tcx { interface: bench.interface(interface), direction: OUT, priority }
}

fn runs(bench: &Sim) -> Option<ProgramId> {
    let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    contents.entries.first().and_then(|entry| entry.program)
}

struct Pause {
    at: (&'static str, &'static str),
    reached: SyncSender<()>,
    goes_on: Mutex<Receiver<()>>,
}

impl StepObserver for Pause {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == self.at && std::thread::current().name() == Some("tenant") {
            self.reached.send(()).unwrap();
            self.goes_on.lock().unwrap().recv().unwrap();
        }
    }
}

/// The machine's program is attached while a tenant's chain is built, which may still send packets.
#[test]
fn machines_program_that_comes_during_a_build_is_not_passed_by() {
    let bench = simulated();
    let ((reached, is_reached), (go_on, goes_on)) = (sync_channel(0), sync_channel(0));
    let pause = Pause { at: ("attach", "record"), reached, goes_on: Mutex::new(goes_on) };
    let engine = bench.watched(Arc::new(pause) as Arc<dyn StepObserver>);
    let alpha = load_tenants(&bench, &engine, "alpha");
    let tango = load(&bench, &engine, "tango");
    let tenant = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("tenant".to_owned());
        let point = bench.xdp(1);
        let attaching = thread.spawn_scoped(scope, || engine.attached(alpha, point)).unwrap();
        is_reached.recv().unwrap();
        assert_eq!(runs(&bench), Some(alpha), "it runs by itself, and sends packets");
        engine.attached(tango, bench.tc(Direction::Ingress, 1));
        go_on.send(()).unwrap();
        attaching.join().unwrap()
    });
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!(chain.strategy, "splice", "a chain that makes its verdicts drops");
    assert!(runs(&bench).is_some_and(|now| now != alpha));
    assert_eq!(engine.describe_link(tenant).unwrap().standing, Standing::Running);
}

fn tries(bench: &Sim) -> usize {
    bench.kernel.refused_loads("xdp_chain")
}

#[test]
fn operations_of_others_do_not_try_a_refused_chain_again() {
    let bench = simulated();
    let engine = bench.engine();
    let alpha = load_tenants(&bench, &engine, "alpha");
    engine.attached(alpha, bench.xdp(1));
    engine.attached(load(&bench, &engine, "bravo"), bench.xdp(2));
    bench.kernel.refuse("xdp_chain");
    let tango = load(&bench, &engine, "tango");
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    let before = tries(&bench);
    assert!(before > 0);
    // Others change their own hooks in this network namespace.
    let zulu = load(&bench, &engine, "zulu");
    for priority in 1..4 {
        let link: LinkId = engine.attached(zulu, tcx(&bench, "right", priority));
        engine.detach(link).unwrap();
    }
    assert_eq!(tries(&bench), before);
    engine.check_all();
    assert!(tries(&bench) > before, "checks do");
}

#[test]
fn hook_that_was_detached_is_whole_after_a_new_entry() {
    let bench = simulated();
    let engine = bench.engine();
    let alpha = load_tenants(&bench, &engine, "alpha");
    let tenant = engine.attached(alpha, bench.xdp(1));
    bench.kernel.refuse("xdp_chain");
    let tango = load(&bench, &engine, "tango");
    let attached = engine.try_attach(tango, bench.tc(Direction::Ingress, 1)).unwrap();
    assert!(attached.warnings[0].contains("detached"), "{attached:?}");
    assert_eq!(runs(&bench), None);
    bench.kernel.accept("xdp_chain");
    let own = engine.attached(load(&bench, &engine, "bravo"), bench.xdp(2));
    for link in [tenant, own] {
        assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    }
    assert_eq!(engine.names(&bench.left(), XDP), ["bravo", "alpha"]);
    let entry = engine.chain(&bench.left(), XDP).unwrap().entry.unwrap();
    assert_eq!(runs(&bench), Some(entry.id));
    assert!(engine.check_all().lost.is_empty());
    assert!(engine.describe_link(own).unwrap().warnings.is_empty());
}

/// No chain can hold back packets that a tcx program sends.
#[test]
fn replacement_that_sends_copies_is_refused() {
    let bench = simulated();
    let engine = bench.engine();
    engine.attached(load(&bench, &engine, "tango"), bench.tc(OUT, 1));
    let zulu = load_tenants(&bench, &engine, "zulu");
    let link = engine.attached(zulu, tcx(&bench, "left", 5));
    let before = bench.kernel.snapshot();
    let mut request = replacement(&bench, zulu, "copy");
    request.name = Some("tc_copies".to_owned());
    let refused = engine.replace_program(&request).unwrap_err();
    assert!(matches!(refused, EngineError::NotNarrowed { .. }), "{refused}");
    assert_eq!(bench.kernel.snapshot(), before);
    assert_eq!(engine.describe_link(link).unwrap().running, Some(zulu));
}

/// Earlier versions attached programs that send copies at egress.
#[test]
fn links_of_earlier_versions_that_send_copies_are_found() {
    let bench = simulated();
    let engine = bench.engine();
    let mut request = bench.request("copy", &["tc_copies"]);
    request.programs[0].program_type = ProgramType::Tcx;
    let copies = engine.loads(&request)[0];
    let link = engine.attached(copies, tcx(&bench, "left", 5));
    drop(engine);
    disown(&bench, "tc_copies", "application:shop/filter");
    let engine = bench.engine();
    assert_eq!(engine.links_that_send_copies(), [], "the machine has no program that they could pass");
    engine.attached(load(&bench, &engine, "tango"), bench.tc(OUT, 1));
    let [(found, concern)] = &engine.links_that_send_copies()[..] else { panic!() };
    assert_eq!(*found, link);
    assert!(concern.to_string().contains("application:shop/filter"), "{concern}");
    engine.detach(link).unwrap();
    assert_eq!(engine.links_that_send_copies(), []);
}

/// The error names members of the chain, which may be of any owner.
#[test]
fn warnings_name_no_programs() {
    let bench = simulated();
    let engine = bench.engine();
    for (name, priority) in [("alpha", 1), ("bravo", 2)] {
        engine.attached(load_tenants(&bench, &engine, name), bench.xdp(priority));
    }
    let charlie = load(&bench, &engine, "charlie");
    engine.attached(charlie, bench.xdp(3));
    bench.kernel.refuse("xdp_chain");
    let tango = load(&bench, &engine, "tango");
    let attached = engine.try_attach(tango, bench.tc(Direction::Ingress, 1)).unwrap();
    assert!(!attached.warnings.is_empty());
    for warning in &attached.warnings {
        for name in ["alpha", "bravo", "charlie", "R2 !read_ok"] {
            assert!(!warning.contains(name), "{warning}");
        }
    }
}

//! One change at as many hooks as a node has: a single record, whatever its size.

use std::path::Path;

use bpfman_model::{AttachPoint, Direction, HookKind, Interface, ProceedOn, ProgramId, VerdictFamily};
use bpfmand_engine::{Engine, EngineError, ReplaceRequest, SCHEMA};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_store::{Store, StoreOptions, Table};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::cases::Case;
use crate::crashes::end_at_every_step_on;
use crate::replacements::replacement;
use crate::scenes::Scene;
use crate::simulated::bench;
use crate::whole_loads::version;
use bpfmand_engine::Standing;

/// Returns the number of hooks. `make many-hooks` sets a higher one, for which attaching takes long.
fn many_or(otherwise: usize) -> usize {
    std::env::var("BPFMAN_MANY_HOOKS").map_or(otherwise, |number| number.parse().unwrap())
}

fn interface(netns: &Path, number: usize) -> Interface {
    Interface { name: format!("pod{number}"), netns: Some(netns.to_owned()) }
}

fn tc(netns: &Path, number: usize, priority: i32) -> AttachPoint {
    AttachPoint::Tc {
        interface: interface(netns, number),
        direction: Direction::Ingress,
        priority,
        proceed_on: ProceedOn::default_for(VerdictFamily::Tc),
    }
}

fn spread<K: Kernel + Testable>(bench: &Bench<K>, engine: &Engine<K>, programs: &[ProgramId], many: usize) {
    bench.kernel.add_interfaces(&bench.netns, many);
    for number in 0..many {
        for (priority, program) in programs.iter().enumerate() {
            engine.attached(*program, tc(&bench.netns, number, priority as i32));
        }
    }
}

fn everywhere<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>, many: usize, names: &[&str]) {
    for number in [0, 1, many / 2, many - 1] {
        let found = engine.names(&interface(&bench.netns, number), HookKind::Tc(Direction::Ingress));
        assert_eq!(found, names, "at interface {number}");
    }
    let links = engine.all_links();
    assert_eq!(links.len(), many * names.len());
    let wrong: Vec<_> = links.iter().filter(|link| link.standing != Standing::Running).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn lives_everywhere<K: Kernel + Testable>(bench: &Bench<K>, many: usize) {
    let engine = bench.engine();
    let names = ["tango", "tulip", "tango"];
    let mut programs = engine.loads(&bench.request("programs", &names[..2]));
    programs.extend(engine.loads(&bench.request("programs", &names[2..])));
    let mut passed = std::time::Instant::now();
    let mut says = |what: &str| {
        println!("{what}, {many} interfaces: {:.2} s", passed.elapsed().as_secs_f64());
        passed = std::time::Instant::now();
    };
    spread(bench, &engine, &programs, many);
    says("attached three programs");
    everywhere(bench, &engine, many, &names);
    says("listed");
    let replaced = engine
        .replace_program(&ReplaceRequest { keep_old: false, ..replacement(bench, programs[0], "second") })
        .unwrap();
    says("replaced one");
    assert_eq!(replaced.links_switched, many);
    programs[0] = replaced.programs[0].id;
    everywhere(bench, &engine, many, &names);
    drop(engine);
    says("listed");
    let engine = bench.engine();
    says("started again");
    everywhere(bench, &engine, many, &names);
    says("listed");
    engine.unload(programs[1]).unwrap();
    says("unloaded one of three");
    everywhere(bench, &engine, many, &["tango", "tango"]);
    engine.unload(programs[0]).unwrap();
    engine.unload(programs[2]).unwrap();
    says("listed, and unloaded the others");
    assert_eq!(engine.all_links().len(), 0);
    drop(engine);
    let (_, report) = bench.start();
    assert_eq!((report.problems, report.reattached, report.reloaded), (Vec::new(), 0, 0));
}

/// More hooks than fit into a mebibyte of records.
#[test]
fn simulated_programs_live_at_many_interfaces() {
    let bench = bench();
    lives_everywhere(&bench, many_or(1_200));
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    let left = bench.kernel.snapshot();
    assert_eq!((left.programs.len(), left.maps.len(), left.links.len()), (0, 0, 0));
}

/// Few hooks, because the kernel takes long for each attachment; but more than one loaded chain can serve.
#[test]
fn linux_programs_live_at_many_interfaces() {
    let bench = crate::linux::bench("many_hooks");
    lives_everywhere(&bench, many_or(70));
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

/// Limits the leftovers in a record, so that a few hooks are like thousands.
fn small_records() -> Bench<SimKernel> {
    Bench { leftover_bytes: Some(40), ..bench() }
}

fn everywhere_at_seven(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) -> Scene {
    let programs = engine.loads(&bench.request("programs", &["tango", "tulip", "xray"]));
    for number in 0..7 {
        bench.kernel.add_interface(Some(&bench.netns), &format!("pod{number}")).unwrap();
        let (interface, direction) = (interface(&bench.netns, number), Direction::Ingress);
        engine.attached(programs[0], tc(&bench.netns, number, 1));
        if number % 2 == 0 {
            engine.attached(programs[1], tc(&bench.netns, number, 2));
        }
        engine.attached(programs[2], AttachPoint::Tcx { interface, direction, priority: 1 });
    }
    Scene { programs, ..Scene::default() }
}

type Operation = fn(&Bench<SimKernel>, &Engine<SimKernel>, &Scene) -> Result<(), EngineError>;

fn many(name: &'static str, by_clsact: bool, operation: Operation) -> Case {
    Case { name, by_clsact, before: everywhere_at_seven, operation }
}

fn ends_anywhere_whole(case: &Case) {
    let bench = small_records();
    let engine = bench.engine();
    let scene = everywhere_at_seven(&bench, &engine);
    (case.operation)(&bench, &engine, &scene).unwrap();
    drop(engine);
    let wrong = end_at_every_step_on(&small_records, case);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unload_from_many_hooks_cut_short_is_atomic() {
    ends_anywhere_whole(&many("unload from chains", false, |_, e, s| e.unload(s.programs[0])));
    ends_anywhere_whole(&many("unload from tcx", false, |_, e, s| e.unload(s.programs[2])));
}

#[test]
fn unload_from_many_filters_cut_short_is_atomic() {
    ends_anywhere_whole(&many("unload from filters", true, |_, e, s| e.unload(s.programs[0])));
}

#[test]
fn replacement_at_many_hooks_cut_short_is_atomic() {
    ends_anywhere_whole(&many("replace one", false, |b, e, s| {
        e.replace_program(&ReplaceRequest { keep_old: false, ..replacement(b, s.programs[0], "second") })
            .map(drop)
    }));
    ends_anywhere_whole(&many("replace a load of which two leave", false, |b, e, s| {
        e.replace_load(&version(b, &s.programs, "second", &["tulip"])).map(drop)
    }));
}

#[test]
fn leaving_many_hooks_is_recorded_in_parts_until_done() {
    let bench = small_records();
    let engine = bench.engine();
    let scene = everywhere_at_seven(&bench, &engine);
    bench.kernel.note_calls();
    engine.unload(scene.programs[2]).unwrap();
    let end = bench.kernel.calls().iter().position(|call| *call == "end_link").unwrap() as u64;
    drop(engine);
    let bench = small_records();
    let engine = bench.engine();
    let scene = everywhere_at_seven(&bench, &engine);
    bench.kernel.fail_from(end + 1);
    engine.unload(scene.programs[2]).unwrap_err();
    bench.kernel.fail_call(0);
    drop(engine);
    let listed = {
        let store = Store::open(StoreOptions::new(bench.folder.path().join("store"), SCHEMA)).unwrap();
        store.load().unwrap().table(Table("leftovers")).count()
    };
    assert!(listed > 2, "{listed} records");
    let (engine, report) = bench.start();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.settled >= listed, "{} of {listed}", report.settled);
    assert_eq!(pins(&*bench.kernel, Path::new("links")), Vec::<String>::new());
    engine.close().unwrap();
    drop(engine);
    assert_eq!(bench.start().1.settled, 0);
}

//! Network namespaces that survive with their attachments after their paths have been removed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKind, Interface, LinkId, NetnsId, OrderIntent, ProgramId,
    Reason, Sharing,
};
use bpfmand_engine::{Engine, EngineError, HookCheck, Standing, StrayKind, find_attached};
use bpfmand_kernel::KernelError;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimKernel, SimOptions};

use crate::bench::{Ask as _, Bench, pins, quick_folder};
use crate::crashes::{Ending, set_up};

pub type Sim = Bench<SimKernel>;

pub const INGRESS: Direction = Direction::Ingress;
pub const TC: HookKind = HookKind::Tc(INGRESS);
pub const XDP: HookKind = HookKind::Xdp;
pub const PROCESS: &str = "/proc/4711/ns/net";

pub fn by_clsact() -> Sim {
    Bench { tc_by_clsact: true, ..crate::simulated::bench() }
}

pub fn leave_name(bench: &Sim) {
    assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
    bench.kernel.remove_name(&bench.netns);
}

pub fn hide(bench: &Sim) -> NetnsId {
    let home = bench.home();
    bench.kernel.remove_name(&bench.netns);
    home
}

pub fn in_process(name: &str) -> Interface {
    Interface { name: name.to_owned(), netns: Some(PathBuf::from(PROCESS)) }
}

pub fn at(point: AttachPoint, interface: Interface) -> AttachPoint {
    let mut point = point;
    *point.interface_mut().unwrap() = interface;
    point
}

fn isolated(engine: &Engine<SimKernel>, program: ProgramId, point: AttachPoint) -> LinkId {
    let request = AttachRequest {
        ttl: None,
        program,
        point,
        order: OrderIntent::default(),
        sharing: Sharing { isolated: true, ..Sharing::default() },
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    };
    engine.attach(&request).unwrap().record.id
}

/// Attaches two isolated members: only its pin keeps the contents of the program array between them.
pub fn cut_chain(bench: &Sim, engine: &Engine<SimKernel>) -> [LinkId; 2] {
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    [isolated(engine, tango, bench.tc(INGRESS, 1)), isolated(engine, tulip, bench.tc(INGRESS, 2))]
}

fn chain_pins(bench: &Sim) -> Vec<String> {
    pins(&*bench.kernel, Path::new("chains"))
}

pub fn state_of(engine: &Engine<SimKernel>, link: LinkId) -> Standing {
    engine.describe_link(link).unwrap().standing
}

pub fn follow(engine: &Engine<SimKernel>, bench: &Sim) {
    let error = engine.follow_interfaces(Some(&bench.netns)).unwrap_err();
    assert!(matches!(error, EngineError::Kernel(KernelError::NoNamespace { .. })), "{error}");
}

#[test]
fn filter_is_removed_where_its_namespace_lives_on() {
    for bench in [by_clsact(), crate::simulated::bench_of(SimOptions::linux_6_1())] {
        for direction in [Direction::Ingress, Direction::Egress] {
            let engine = bench.engine();
            let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
            let link = engine.attached(tango, bench.tc(direction, 1));
            let home = bench.home();
            leave_name(&bench);
            follow(&engine, &bench);
            assert_eq!(engine.check_all().lost, []);
            assert!(state_of(&engine, link).is_running());
            let hooks = engine.list_hooks().unwrap();
            assert!(hooks.iter().all(|hook| hook.troubles.is_empty()), "{hooks:?}");
            drop(engine);
            let engine = bench.engine();
            assert!(state_of(&engine, link).is_running());
            engine.detach(link).unwrap();
            assert!(bench.kernel.snapshot().filters.is_empty(), "{:?}", bench.kernel.snapshot().filters);
            engine.unload(tango).unwrap();
            assert!(bench.kernel.snapshot().programs.is_empty());
            assert!(bench.kernel.add_name(&bench.netns, home));
        }
    }
}

#[test]
fn hook_is_lost_if_two_checks_find_its_namespace_unreachable() {
    let bench = by_clsact();
    let engine = bench.engine();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(INGRESS, 1));
    hide(&bench);
    follow(&engine, &bench);
    assert_eq!(engine.check_all().lost, []);
    for _ in 0..2 {
        let lost = format!("{:?}", engine.check_all().lost);
        assert!(lost.contains("no name, mount or process leads"), "{lost}");
    }
}

#[test]
fn second_attach_by_another_path_joins_the_hook() {
    let bench = by_clsact();
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    let first = engine.attached(tango, bench.tc(INGRESS, 1));
    leave_name(&bench);
    follow(&engine, &bench);
    let second = engine.attached(tulip, at(bench.tc(INGRESS, 2), in_process("left")));
    assert_eq!(bench.kernel.snapshot().filters.len(), 1);
    assert_eq!(engine.names(&in_process("left"), TC), ["tango", "tulip"]);
    assert_eq!(engine.names(&bench.left(), TC), ["tango", "tulip"]);
    follow(&engine, &bench);
    let hooks = engine.list_hooks().unwrap();
    assert_eq!(hooks.len(), 1);
    assert!(hooks[0].hook.contains(PROCESS) && hooks[0].troubles.is_empty(), "{hooks:?}");
    assert!([first, second].iter().all(|link| state_of(&engine, *link).is_running()));
    engine.detach(second).unwrap();
    engine.detach(first).unwrap();
    assert!(bench.kernel.snapshot().filters.is_empty() && chain_pins(&bench).is_empty());
}

#[test]
fn chain_of_an_unreachable_filter_stays_whole() {
    let bench = by_clsact();
    let engine = bench.engine();
    let [first, second] = cut_chain(&bench, &engine);
    let before = (bench.kernel.snapshot().filters, chain_pins(&bench));
    assert!(!before.1.is_empty());
    let key = bench.kernel.find_hook(&bench.left(), TC).unwrap();
    let home = hide(&bench);
    follow(&engine, &bench);
    let looks = |engine: &Engine<SimKernel>| {
        assert_eq!(state_of(engine, first), Standing::Unreachable);
        assert_eq!(engine.check_hook(&key).unwrap(), HookCheck::Unreachable);
        assert_eq!((bench.kernel.snapshot().filters, chain_pins(&bench)), before);
        for refused in [engine.detach(first), engine.unload(engine.ids()[0])] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), Reason::Precondition, "{error}");
            assert!(error.to_string().contains("no name, mount or process leads"), "{error}");
        }
        assert_eq!(engine.all_links().len(), 2);
    };
    looks(&engine);
    drop(engine);
    let (engine, report) = bench.start();
    assert!(report.problems.len() == 1 && report.problems[0].contains("may run on"), "{report:?}");
    looks(&engine);
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    assert_eq!(engine.check_hook(&key).unwrap(), HookCheck::Right);
    assert!(state_of(&engine, first).is_running());
    engine.detach(first).unwrap();
    bench.kernel.remove_name(Path::new(PROCESS));
    bench.kernel.end_namespace(home);
    follow(&engine, &bench);
    assert_eq!(state_of(&engine, second), Standing::Waiting);
    assert!(chain_pins(&bench).is_empty());
    engine.detach(second).unwrap();
    drop(engine);
    bench.engine();
}

#[test]
fn namespace_that_ended_is_known_by_its_number_alone() {
    let bench = by_clsact();
    let engine = bench.engine();
    cut_chain(&bench, &engine);
    let home = hide(&bench);
    drop(engine);
    bench.kernel.end_namespace(home);
    let (engine, report) = bench.start();
    assert!(
        report.problems.iter().all(|problem| problem.contains("is not a network namespace")),
        "{report:?}"
    );
    follow(&engine, &bench);
    assert!(
        engine.all_links().iter().all(|link| link.standing == Standing::Waiting),
        "{:?}",
        engine.all_links()
    );
    assert!(chain_pins(&bench).is_empty());
}

#[test]
fn chain_without_records_stays_in_a_namespace_without_a_name() {
    let bench = by_clsact();
    let engine = bench.engine();
    cut_chain(&bench, &engine);
    drop(engine);
    leave_name(&bench);
    let before = (bench.kernel.snapshot().filters, chain_pins(&bench));
    let bench = Bench { folder: quick_folder(), ..bench };
    let (engine, report) = bench.start();
    assert_eq!((bench.kernel.snapshot().filters, chain_pins(&bench)), before);
    let strays = engine.strays().unwrap();
    let filter = strays.iter().find(|stray| matches!(stray.kind, StrayKind::Filter { .. })).unwrap();
    assert!(filter.description().contains(PROCESS), "{}", filter.description());
    assert!(report.problems.iter().any(|problem| problem.contains(PROCESS)), "{report:?}");
    engine.remove_stray(&filter.pin).unwrap();
    assert!(bench.kernel.snapshot().filters.is_empty() && chain_pins(&bench).is_empty());
    assert_eq!(bench.kernel.list_folder(Path::new("namespaces")).unwrap(), [""; 0]);
}

#[test]
fn unrecorded_chain_in_unreachable_namespace_stays() {
    let bench = by_clsact();
    let engine = bench.engine();
    cut_chain(&bench, &engine);
    drop(engine);
    let home = hide(&bench);
    let before = (bench.kernel.snapshot().filters, chain_pins(&bench));
    let mut bench = bench;
    for _ in 0..2 {
        bench = Bench { folder: quick_folder(), ..bench };
        let (engine, report) = bench.start();
        assert_eq!((bench.kernel.snapshot().filters, chain_pins(&bench)), before);
        let strays = engine.strays().unwrap();
        let hidden =
            strays.iter().find(|stray| stray.kind == StrayKind::HiddenFilter { netns: home }).unwrap();
        assert!(hidden.description().contains("nothing leads there"), "{}", hidden.description());
        assert!(report.problems.iter().any(|problem| problem.contains("nothing leads there")), "{report:?}");
        let error = engine.remove_stray(&hidden.pin).unwrap_err();
        assert_eq!(error.kind(), Reason::Precondition, "{error}");
        assert_eq!((bench.kernel.snapshot().filters, chain_pins(&bench)), before);
    }
    bench.kernel.end_namespace(home);
    let bench = Bench { folder: quick_folder(), ..bench };
    bench.start();
    assert!(chain_pins(&bench).is_empty());
    assert_eq!(bench.kernel.list_folder(Path::new("namespaces")).unwrap(), Vec::<String>::new());
}

#[test]
fn break_glass_takes_filters_in_namespaces_without_a_name() {
    let bench = by_clsact();
    let engine = bench.engine();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(INGRESS, 1));
    drop(engine);
    leave_name(&bench);
    let kernel = &*bench.kernel;
    let found = find_attached(kernel);
    assert_eq!((found.ours.len(), found.left), (1, Vec::new()));
    assert!(found.ours[0].to_string().contains(PROCESS), "{}", found.ours[0]);
    found.ours[0].detach(kernel).unwrap();
    assert!(kernel.snapshot().filters.is_empty());
    assert!(find_attached(kernel).ours.is_empty());
}

#[test]
fn break_glass_names_a_namespace_that_cannot_be_reached() {
    let bench = by_clsact();
    let engine = bench.engine();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(INGRESS, 1));
    drop(engine);
    let home = hide(&bench);
    let kernel = &*bench.kernel;
    let found = find_attached(kernel);
    let [unseen] = &found.find_unseen(kernel)[..] else { panic!("{found:?}") };
    assert!(found.ours.is_empty() && unseen.contains("may run on"), "{found:?}");
    assert!(unseen.contains(&format!("-inum {} 2>/dev/null`", home.inode)), "{unseen}");
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    let [unread] = &found.find_unseen(kernel)[..] else { panic!("{found:?}") };
    assert!(unread.contains(&format!("at {PROCESS}, whose filters could not be read")), "{unread}");
    assert_eq!(find_attached(kernel).find_unseen(kernel), Vec::<String>::new());
    bench.kernel.remove_name(Path::new(PROCESS));
    let found = find_attached(kernel);
    bench.kernel.end_namespace(home);
    assert_eq!(found.find_unseen(kernel), Vec::<String>::new());
}

#[test]
fn interrupted_attach_leaves_no_filter_without_a_name() {
    let case =
        crate::cases::cases().into_iter().find(|case| case.name == "attach the first to clsact").unwrap();
    let steps = {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up(&case, &ending);
        ending.arm(0);
        (case.operation)(&bench, &engine, &scene).unwrap();
        ending.steps()
    };
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(&case, &ending);
    ending.arm(1 + steps.iter().position(|step| step == "attach: record").unwrap());
    let ended = catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene)));
    assert!(ended.is_err());
    drop(engine);
    bench.kernel.fail_call(0);
    assert_eq!(bench.kernel.snapshot().filters.len(), 1);
    let home = hide(&bench);
    // While no path leads there, its pins show that the filter may exist.
    let (engine, report) = bench.start();
    assert!(report.problems[0].contains("cannot be reached"), "{report:?}");
    drop(engine);
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    let engine = bench.engine();
    assert!(bench.kernel.snapshot().filters.is_empty());
    assert!(engine.all_links().is_empty() && pins(&*bench.kernel, Path::new("pending")).is_empty());
}

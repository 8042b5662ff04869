//! After a reboot, old ids of interfaces, programs and processes belong to other objects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfman_model::{AttachPoint, HookKind, Interface, ProcessScope, Reason};
use bpfmand_engine::StepObserver;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, pins};
use crate::simulated::bench;
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

fn own(name: &str) -> Interface {
    Interface { name: name.to_owned(), netns: None }
}

fn at(bench: &Bench<SimKernel>, interface: Interface, priority: i32) -> AttachPoint {
    let AttachPoint::Xdp { proceed_on, .. } = bench.xdp(0) else { panic!("an XDP point") };
    AttachPoint::Xdp { interface, priority, proceed_on }
}

fn clsact(interface: Interface) -> AttachPoint {
    AttachPoint::Tc {
        interface,
        direction: bpfman_model::Direction::Ingress,
        priority: 1,
        proceed_on: bpfman_model::ProceedOn::default_for(bpfman_model::VerdictFamily::Tc),
    }
}

#[test]
fn chains_follow_interfaces_that_swap_their_numbers() {
    let bench = Bench { tc_by_clsact: true, ..bench() };
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "tango", "tulip"];
    let [alpha, bravo, charlie, tango, tulip] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!("five programs")
    };
    engine.attached(alpha, at(&bench, own("left"), 1));
    engine.attached(bravo, at(&bench, own("right"), 1));
    engine.attached(charlie, at(&bench, own("right"), 2));
    engine.attached(tango, clsact(own("left")));
    engine.attached(tulip, clsact(own("right")));
    let before = bench.kernel.find_hook(&own("left"), XDP).unwrap();
    drop(engine);
    for boot in 0..3 {
        bench.kernel.reboot();
        let after = bench.kernel.find_hook(&own("right"), XDP).unwrap();
        assert_eq!(after == before, boot % 2 == 0, "the interfaces swapped their numbers");
        let engine = bench.engine();
        let tc = HookKind::Tc(bpfman_model::Direction::Ingress);
        assert_eq!(engine.names(&own("left"), XDP), ["alpha"]);
        assert_eq!(engine.names(&own("right"), XDP), ["bravo", "charlie"]);
        assert_eq!(engine.names(&own("left"), tc), ["tango"]);
        assert_eq!(engine.names(&own("right"), tc), ["tulip"]);
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
    }
}

#[test]
fn start_cut_short_leaves_no_chain_at_the_wrong_interface() {
    struct After(AtomicUsize);
    impl StepObserver for After {
        fn before(&self, _: &'static str, _: &'static str) {
            if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                std::panic::resume_unwind(Box::new("the daemon ended"));
            }
        }
    }

    let mut step = 1;
    loop {
        let bench = bench();
        let engine = bench.engine();
        let names = ["alpha", "bravo", "charlie"];
        let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
        engine.attached(alpha, at(&bench, own("left"), 1));
        engine.attached(bravo, at(&bench, own("right"), 1));
        engine.attached(charlie, at(&bench, own("right"), 2));
        drop(engine);
        bench.kernel.reboot();
        let observer = Arc::new(After(AtomicUsize::new(step)));
        if catch_unwind(AssertUnwindSafe(|| drop(bench.watched(observer)))).is_ok() {
            break;
        }
        let engine = bench.engine();
        assert_eq!(engine.names(&own("left"), XDP), ["alpha"], "step {step}");
        assert_eq!(engine.names(&own("right"), XDP), ["bravo", "charlie"], "step {step}");
        assert_eq!(bench.kernel.snapshot().links.len(), 2, "step {step}");
        assert!(pins(&*bench.kernel, Path::new("pending")).is_empty(), "step {step}");
        step += 1;
    }
    assert!(step > 5, "{step} steps");
}

#[test]
fn chain_of_a_missing_interface_yields_its_number_and_waits() {
    let bench = bench();
    bench.kernel.add_interface(None, "third").unwrap();
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "tango"];
    let [alpha, bravo, charlie, _] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    engine.attached(alpha, at(&bench, own("left"), 1));
    let first = engine.attached(bravo, at(&bench, own("right"), 1));
    engine.attached(alpha, at(&bench, own("right"), 2));
    engine.attached(charlie, at(&bench, own("third"), 1));
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.remove_interface(None, "right");
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!(engine.names(&own("left"), XDP), ["alpha"]);
    assert_eq!(engine.names(&own("third"), XDP), ["charlie"]);
    assert_eq!(engine.all_links().len(), 4);
    engine.detach(first).unwrap();
    drop(engine);
    bench.kernel.add_interface(None, "right").unwrap();
    let engine = bench.engine();
    assert_eq!(engine.names(&own("left"), XDP), ["alpha"]);
    assert_eq!(engine.names(&own("right"), XDP), ["alpha"]);
    assert_eq!(engine.names(&own("third"), XDP), ["charlie"]);
}

#[test]
fn link_of_a_missing_interface_yields_its_number_and_waits() {
    let bench = bench();
    let tcx = |name: &str| AttachPoint::Tcx {
        interface: own(name),
        direction: bpfman_model::Direction::Ingress,
        priority: 1,
    };
    let engine = bench.engine();
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let first = engine.attached(xray, tcx("left"));
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.remove_interface(None, "left");
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    // The kernel attaches a program once per hook, and this hook has the ids of the missing one.
    let xray = engine.ids()[0];
    engine.attached(xray, tcx("right"));
    drop(engine);
    bench.kernel.add_interface(None, "left").unwrap();
    let engine = bench.engine();
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
    engine.detach(first).unwrap();
    assert_eq!(engine.all_links().len(), 1);
}

/// Kills the daemon before it moves the records of hooks for the n-th time.
struct Moves(AtomicUsize);

impl StepObserver for Moves {
    fn before(&self, _: &'static str, step: &'static str) {
        if step == "move hooks" && self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::panic::resume_unwind(Box::new("the daemon ended"));
        }
    }
}

#[test]
fn hooks_that_move_together_move_in_one_commit_of_any_size() {
    let bench = bench();
    let names: Vec<String> = (0..40).map(|number| format!("eth{number:02}")).collect();
    for name in &names {
        bench.kernel.add_interface(None, name).unwrap();
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["alpha"]))[0];
    for (priority, name) in (0..).zip(&names) {
        engine
            .attach(&bpfman_model::AttachRequest {
                ttl: None,
                program,
                point: at(&bench, own(name), priority),
                order: bpfman_model::OrderIntent::default(),
                sharing: Default::default(),
                metadata: [("note".to_owned(), "x".repeat(15 << 10))].into(),
                owner: Default::default(),
                group: None,
            })
            .unwrap();
    }
    drop(engine);
    for moves in 1.. {
        bench.kernel.reboot();
        let observer = Arc::new(Moves(AtomicUsize::new(moves)));
        let ended = catch_unwind(AssertUnwindSafe(|| drop(bench.watched(observer)))).is_err();
        let engine = bench.engine();
        for (priority, name) in (0..).zip(&names) {
            let chain = engine.chain(&own(name), XDP).unwrap();
            let priorities: Vec<_> =
                chain.members.iter().map(|member| member.link.point.priority().unwrap()).collect();
            assert_eq!(priorities, [priority], "{name}, ended before commit {moves}");
        }
        drop(engine);
        let (_, report) = bench.start();
        assert_eq!((report.reattached, report.problems), (0, Vec::new()));
        if !ended {
            assert_eq!(moves, 2, "600 KiB of records in one commit");
            break;
        }
    }
}

#[test]
fn a_namespace_named_by_a_process_is_left_alone_after_a_reboot() {
    let bench = bench();
    let of_process = Interface { name: "eth0".to_owned(), netns: Some("/proc/4711/ns/net".into()) };
    bench.kernel.add_namespace(Path::new("/proc/4711/ns/net"));
    bench.kernel.add_interface(of_process.netns.as_deref(), "eth0").unwrap();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, at(&bench, of_process.clone(), 1));
    engine.attached(bravo, bench.xdp(1));
    drop(engine);
    let pin =
        pins(&*bench.kernel, Path::new("xdp")).into_iter().find(|pin| pin.contains("402653200")).unwrap();
    bench.kernel.unpin(Path::new(&pin)).unwrap();
    let engine = bench.engine();
    assert_eq!(engine.names(&of_process, XDP), ["alpha"]);
    drop(engine);
    for _ in 0..2 {
        bench.kernel.reboot();
        for _ in 0..2 {
            let (engine, report) = bench.start();
            assert_eq!(report.problems.len(), 1, "{report:?}");
            assert!(
                report.problems[0].contains("names a process, whose number may be another one's"),
                "{report:?}"
            );
            assert_eq!(engine.names(&of_process, XDP), Vec::<String>::new());
            assert_eq!(engine.names(&bench.left(), XDP), ["bravo"]);
        }
    }
    let engine = bench.start().0;
    engine.attached(bravo, at(&bench, of_process.clone(), 5));
    engine.detach(link).unwrap();
    assert_eq!(engine.names(&of_process, XDP), ["bravo"]);
    drop(engine);
    bench.engine();
}

#[test]
fn probes_of_processes_are_left_alone_after_a_reboot() {
    let bench = bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("programs", &["probe"]))[0];
    let probe = |target: &str, scope: ProcessScope| AttachPoint::Uprobe {
        target: target.to_owned(),
        function: None,
        offset: 64,
        scope,
    };
    let everywhere = engine.attached(program, probe("/bin/true", ProcessScope::default()));
    let of_one = ProcessScope { pid: Some(1), container_pid: None };
    let inside = ProcessScope { pid: None, container_pid: Some(1) };
    let of_process = [
        engine.attached(program, probe("/bin/true", of_one)),
        engine.attached(program, probe("/bin/true", inside)),
        engine.attached(program, probe("/proc/1/root/bin/true", ProcessScope::default())),
    ];
    drop(engine);
    bench.kernel.unpin(Path::new(&format!("links/{}", of_process[0]))).unwrap();
    drop(bench.engine());
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 3, "{report:?}");
    assert_eq!(bench.kernel.snapshot().links.len(), 1);
    assert_eq!(pins(&*bench.kernel, Path::new("links")), [format!("links/{everywhere}")]);
    for link in of_process {
        engine.detach(link).unwrap();
    }
    drop(engine);
    bench.engine();
}

#[test]
fn program_lost_at_reboot_harms_no_new_user_of_its_id() {
    for (lost, others) in [("bravo", 1), ("alpha", 0)] {
        let bench = bench();
        let engine = bench.engine();
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        let bravo = engine.loads(&bench.request("programs", &["bravo"]))[0];
        engine.attached(bravo, bench.xdp(1));
        engine.attached(alpha, at(&bench, own("left"), 1));
        let (living, id) = if lost == "bravo" { ("alpha", bravo) } else { ("bravo", alpha) };
        drop(engine);
        bench.kernel.reboot();
        let _others = crate::reboots::others_load_first(&bench, others);
        bench.kernel.refuse(lost);
        let (engine, report) = bench.start();
        assert_eq!(report.problems.len(), 2, "the program and its link: {report:?}");
        let found = engine.describe_program(id).unwrap().managed.unwrap();
        assert_eq!(found.record.name, living, "one id, two records");
        engine.unload(id).unwrap();
        // Its pins are gone, and only the lost program still has the name.
        assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
        let error = engine.try_attach(id, at(&bench, own("right"), 1)).unwrap_err();
        assert_eq!(error.kind(), Reason::Precondition, "{error}");
        drop(engine);
        bench.kernel.accept(lost);
        let engine = bench.engine();
        assert_eq!(engine.all_links().len(), 1);
        assert_eq!(engine.all_links()[0].program.name, lost);
        assert_eq!(engine.all_links()[0].standing, Standing::Running);
    }
}

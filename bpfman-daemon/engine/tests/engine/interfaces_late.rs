//! Interface changes that are noticed late: reused indexes and process ids, and outdated lists.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bpfman_model::{AttachPoint, Direction, HookKind, Interface, ProgramType, Reason};
use bpfmand_engine::{Engine, HookChange, HookCheck, StepObserver, SwitchCaller};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{Kernel, LinkTarget, XdpMode};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::interfaces::{ask, attached_to, chosen};
use crate::kernel_rules::program;
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

fn at<K: Testable>(bench: &Bench<K>, interface: Interface, priority: i32) -> AttachPoint {
    AttachPoint::Xdp { interface, priority, proceed_on: bench.xdp(0).proceed_on().unwrap() }
}

fn hold<K: Kernel>(engine: &Engine<K>, interface: &Interface, held: bool) {
    let change = HookChange { held: Some(held), ..HookChange::default() };
    engine.set_hook(interface, XDP, &change, &SwitchCaller::root("user 0")).unwrap();
}

fn frozen_hook_without_interface_blocks_no_change<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo, charlie] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "charlie"]))[..]
    else {
        panic!()
    };
    let netns = bench.netns.as_path();
    bench.kernel.add_interface(netns, "pod1");
    let pod = bench.interface("pod1");
    let first = engine.attached(alpha, at(bench, pod.clone(), 1));
    engine.attached(bravo, at(bench, pod.clone(), 2));
    ask(&engine, charlie, bench.xdp(3), chosen(bench, &["pod*"], &[])).unwrap();
    hold(&engine, &pod, true);
    assert_eq!(engine.detach(first).unwrap_err().kind(), Reason::Conflict);
    bench.kernel.remove_interface(netns, "pod1");
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.detached, report.waiting, report.problems), (1, 1, vec![]));
    engine.detach(first).unwrap();
    bench.kernel.add_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(engine.unload(bravo).unwrap_err().kind(), Reason::Conflict);
    hold(&engine, &pod, false);
    engine.unload(bravo).unwrap();
}

fn next_check_detaches_rest_of_ended_matching<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let matching = ask(&engine, alpha, bench.xdp(3), chosen(bench, &["left", "right"], &[])).unwrap();
    hold(&engine, &bench.left(), true);
    assert_eq!(engine.detach_matching(matching.record.id).unwrap_err().kind(), Reason::Conflict);
    assert_eq!((attached_to(&engine), engine.list_matching().unwrap().len()), (vec!["left".to_owned()], 0));
    let report = engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert!(report.problems[0].contains("frozen"), "{report:?}");
    hold(&engine, &bench.left(), false);
    assert_eq!(engine.follow_interfaces(Some(&bench.netns)).unwrap().detached, 1);
    assert!(engine.all_links().is_empty() && pins(&*bench.kernel, Path::new("xdp")).is_empty());
}

fn two_looks_at_once_are_no_failure_of_a_matching<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let netns = bench.netns.as_path();
    for _ in 0..16 {
        let matching = std::thread::scope(|threads| {
            let follower = threads.spawn(|| {
                while engine.list_matching().unwrap().is_empty() {}
                engine.follow_interfaces(Some(netns)).unwrap()
            });
            let matching = ask(&engine, alpha, bench.xdp(3), chosen(bench, &["left", "right"], &[])).unwrap();
            assert_eq!(follower.join().unwrap().problems, Vec::<String>::new());
            matching
        });
        assert_eq!(matching.failures, Vec::<String>::new());
        let shown = engine.describe_matching(matching.record.id).unwrap();
        assert_eq!((shown.links.len(), shown.failures), (2, vec![]));
        engine.detach_matching(matching.record.id).unwrap();
    }
}

type Meanwhile<K> = Box<dyn FnOnce(&Engine<K>) + Send>;

/// Counts loaded chains, and acts once between listing and comparing interfaces.
struct Watching<K: Kernel> {
    loads: Mutex<usize>,
    engine: OnceLock<Weak<Engine<K>>>,
    meanwhile: Mutex<Option<Meanwhile<K>>>,
}

impl<K: Kernel> StepObserver for Watching<K> {
    fn before(&self, operation: &'static str, step: &'static str) {
        match (operation, step) {
            ("chain", "load") => *self.loads.lock().unwrap() += 1,
            ("follow", "compare") => {
                let meanwhile = self.meanwhile.lock().unwrap().take();
                let engine = self.engine.get().and_then(Weak::upgrade);
                if let (Some(meanwhile), Some(engine)) = (meanwhile, engine) {
                    meanwhile(&engine);
                }
            }
            _ => {}
        }
    }
}

fn watching<K: Testable>(bench: &Bench<K>) -> (Arc<Engine<K>>, Arc<Watching<K>>) {
    let watching =
        Arc::new(Watching { loads: Mutex::default(), engine: OnceLock::new(), meanwhile: Mutex::default() });
    let engine = Arc::new(bench.watched(Arc::clone(&watching) as Arc<dyn StepObserver>));
    assert!(watching.engine.set(Arc::downgrade(&engine)).is_ok());
    (engine, watching)
}

fn an_old_list_of_interfaces_detaches_nothing_that_lives<K: Testable>(bench: &Bench<K>) {
    let (engine, watching) = watching(bench);
    let [alpha, xray] = engine.loads(&bench.request("programs", &["alpha", "xray"]))[..] else { panic!() };
    ask(&engine, alpha, bench.xdp(1), chosen(bench, &["pod*"], &[])).unwrap();
    if bench.kernel.features().tcx {
        ask(&engine, xray, bench.tcx(1), chosen(bench, &["pod*"], &[])).unwrap();
    }
    let (kernel, netns) = (Arc::clone(&bench.kernel), bench.netns.clone());
    *watching.meanwhile.lock().unwrap() = Some(Box::new(move |engine| {
        kernel.add_interface(&netns, "pod1");
        let report = engine.follow_interfaces(Some(&netns)).unwrap();
        assert_eq!(report.attached, 1 + usize::from(kernel.features().tcx));
    }));
    let report = engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert!(watching.meanwhile.lock().unwrap().is_none());
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(attached_to(&engine)[0], "pod1");
}

fn a_chain_is_not_built_for_a_hook_that_another_took<K: Testable>(bench: &Bench<K>) {
    let (engine, watching) = watching(bench);
    let names = ["alpha", "bravo", "charlie"];
    let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let (kernel, netns) = (&*bench.kernel, bench.netns.as_path());
    kernel.add_interface(netns, "pod1");
    let pod = bench.interface("pod1");
    engine.attached(alpha, at(bench, pod.clone(), 1));
    engine.attached(bravo, at(bench, pod.clone(), 2));
    kernel.remove_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    kernel.add_interface(netns, "pod1");
    let ifindex = kernel.find_hook(&pod, XDP).unwrap().ifindex;
    let target = LinkTarget::Xdp { home: bench.home(), netns: Some(netns), ifindex, mode: XdpMode::Generic };
    let theirs = program(kernel, ProgramType::Xdp, 2, None);
    let link = kernel.attach(&theirs, &target).unwrap();
    let before = *watching.loads.lock().unwrap();
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("\"rule\"")), "{report:?}");
    let key = kernel.find_hook(&pod, XDP).unwrap();
    for _ in 0..3 {
        let HookCheck::Lost(what) = engine.check_hook(&key).unwrap() else { panic!() };
        assert!(what.to_string().contains("\"rule\""), "{what}");
    }
    let matching = ask(&engine, charlie, bench.xdp(3), chosen(bench, &["pod*"], &[])).unwrap();
    assert!(matching.failures[0].contains("\"rule\""), "{:?}", matching.failures);
    assert_eq!(*watching.loads.lock().unwrap(), before);
    drop((link, theirs));
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while engine.check_hook(&key).unwrap() != HookCheck::Right {
        assert!(std::time::Instant::now() < deadline);
    }
}

crate::on_both_kernels!(
    frozen_hook_without_interface_blocks_no_change,
    next_check_detaches_rest_of_ended_matching,
    two_looks_at_once_are_no_failure_of_a_matching,
    an_old_list_of_interfaces_detaches_nothing_that_lives,
    a_chain_is_not_built_for_a_hook_that_another_took,
);

/// Process ids end at 2^22.
const OF_PROCESS: &str = "/proc/4999999/ns/net";

#[test]
fn simulated_another_process_with_the_number_gets_nothing() {
    let bench: Bench<SimKernel> = crate::simulated::bench();
    let netns = Path::new(OF_PROCESS);
    let left = Interface { name: "left".to_owned(), netns: Some(netns.to_owned()) };
    let direction = Direction::Ingress;
    let begin = || {
        bench.kernel.add_namespace(netns);
        bench.kernel.add_interface(Some(netns), "left").unwrap();
    };
    begin();
    let engine = bench.engine();
    let [alpha, xray] = engine.loads(&bench.request("programs", &["alpha", "xray"]))[..] else { panic!() };
    engine.attached(alpha, at(&bench, left.clone(), 1));
    engine.attached(xray, AttachPoint::Tcx { interface: left.clone(), direction, priority: 1 });
    // An interface that returns to its namespace belongs to the same process.
    bench.kernel.remove_interface(Some(netns), "left");
    assert_eq!(engine.follow_interfaces(Some(netns)).unwrap().waiting, 2);
    bench.kernel.add_interface(Some(netns), "left").unwrap();
    assert_eq!(engine.follow_interfaces(Some(netns)).unwrap().returned, 2);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
    bench.kernel.remove_namespace(netns);
    engine.follow_interfaces(Some(netns)).unwrap_err();
    begin();
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(engine.watched_namespaces().len(), 0, "nobody looks there any more");
    drop(engine);
    let (engine, report) = bench.start();
    assert_eq!(report.problems.len(), 2, "{report:?}");
    let key = bench.kernel.find_hook(&left, XDP).unwrap();
    let contents = bench.kernel.hook_contents(Some(netns), &key).unwrap();
    assert!(contents.entries.is_empty(), "{contents:?}");
    for link in engine.all_links() {
        engine.detach(link.record.id).unwrap();
    }
}

#[test]
fn linux_new_interface_with_a_reused_index_is_another_one() {
    let bench = crate::linux::bench("number_again");
    let engine = bench.engine();
    let names = ["alpha", "bravo", "xray"];
    let [alpha, bravo, xray] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let netns = bench.netns.as_path();
    Testable::add_interface(&*bench.kernel, netns, "pod1");
    let pod = bench.interface("pod1");
    let by_name = engine.attached(alpha, at(&bench, pod.clone(), 1));
    ask(&engine, bravo, bench.xdp(2), chosen(&bench, &["pod*"], &[])).unwrap();
    let direction = Direction::Ingress;
    let tcx =
        bench.kernel.features().tcx.then(|| {
            engine.attached(xray, AttachPoint::Tcx { interface: pod.clone(), direction, priority: 1 })
        });
    let number = bench.kernel.find_hook(&pod, XDP).unwrap().ifindex.0;
    Testable::remove_interface(&*bench.kernel, netns, "pod1");
    assert!(crate::linux::add_interface_of_number(&bench, "pod2", number));
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.renamed, report.attached, report.detached), (0, 1, 1), "{report:?}");
    assert_eq!(engine.names(&bench.interface("pod2"), XDP), ["bravo"]);
    for waiting in [Some(by_name), tcx].into_iter().flatten() {
        let link = engine.describe_link(waiting).unwrap();
        assert!(link.standing == Standing::Waiting, "{link:?}");
        assert_eq!(link.record.point.hook().unwrap().0.name, "pod1");
    }
    Testable::add_interface(&*bench.kernel, netns, "pod1");
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.returned, report.problems.len()), (1 + usize::from(tcx.is_some()), 0), "{report:?}");
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
}

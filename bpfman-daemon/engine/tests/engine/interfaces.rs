//! Interfaces appear, disappear and are renamed, and attachments follow.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKind, Interface, InterfaceMatch, MatchRequest, OrderIntent,
    ProgramId, Reason,
};
use bpfmand_engine::{Engine, EngineError, MatchingDetails};
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable, pins};
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

pub fn chosen<K: Testable>(bench: &Bench<K>, names: &[&str], except: &[&str]) -> InterfaceMatch {
    let netns = [bench.netns.as_path()];
    InterfaceMatch::parse(names.iter().copied(), except.iter().copied(), [], netns).unwrap()
}

pub fn ask<K: Kernel>(
    engine: &Engine<K>,
    program: ProgramId,
    point: AttachPoint,
    interfaces: InterfaceMatch,
) -> Result<MatchingDetails, EngineError> {
    let (order, metadata) = (OrderIntent::default(), BTreeMap::new());
    engine.attach_matching(&MatchRequest {
        attach: AttachRequest {
            ttl: None,
            program,
            point,
            order,
            sharing: Default::default(),
            metadata,
            owner: Default::default(),
            group: None,
        },
        interfaces,
    })
}

pub fn attached_to<K: Kernel>(engine: &Engine<K>) -> Vec<String> {
    let mut names: Vec<String> = engine
        .all_links()
        .iter()
        .map(|link| {
            assert_eq!(link.standing, Standing::Running);
            link.record.point.hook().unwrap().0.name.clone()
        })
        .collect();
    names.sort();
    names
}

fn every_interface_that_matches_is_attached_to_now_and_later<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let matching = ask(&engine, alpha, bench.xdp(7), chosen(bench, &["pod*", "left"], &["pod9"])).unwrap();
    assert_eq!((attached_to(&engine), matching.failures), (vec!["left".to_owned()], vec![]));
    let netns = bench.netns.as_path();
    for name in ["pod1", "pod9", "other", "pod2"] {
        bench.kernel.add_interface(netns, name);
    }
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.attached, report.problems.len()), (2, 0), "{report:?}");
    assert_eq!(attached_to(&engine), ["left", "pod1", "pod2"]);
    assert!(engine.follow_interfaces(Some(netns)).unwrap().is_empty());
    assert!(engine.all_links().iter().all(|link| link.running == Some(alpha)));
    let shown = engine.list_matching().unwrap();
    assert_eq!((shown.len(), shown[0].links.len(), shown[0].record.point.priority()), (1, 3, Some(7)));
    let hooks = pins(&*bench.kernel, Path::new("xdp")).len();
    bench.kernel.remove_interface(netns, "pod1");
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.detached, report.waiting, report.problems.len()), (1, 0, 0), "{report:?}");
    assert_eq!(attached_to(&engine), ["left", "pod2"]);
    assert_eq!(pins(&*bench.kernel, Path::new("xdp")).len(), hooks - 1);
    bench.kernel.add_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), ["left", "pod1", "pod2"]);
    assert_eq!(engine.detach_matching(matching.record.id).unwrap(), 3);
    assert!(engine.all_links().is_empty() && engine.list_matching().unwrap().is_empty());
    assert!(pins(&*bench.kernel, Path::new("xdp")).is_empty());
    assert_eq!(engine.detach_matching(matching.record.id).unwrap_err().kind(), Reason::NotFound);
    drop(engine);
    assert!(bench.records().iter().all(|(name, _)| name.starts_with("programs/")));
}

fn an_interface_that_has_another_name_is_followed_or_let_go<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo, xray] = engine.loads(&bench.request("programs", &["alpha", "bravo", "xray"]))[..]
    else {
        panic!()
    };
    let netns = bench.netns.as_path();
    bench.kernel.add_interface(netns, "pod1");
    let at_pod = |name: &str| AttachPoint::Xdp {
        interface: bench.interface(name),
        priority: 3,
        proceed_on: bench.xdp(0).proceed_on().unwrap(),
    };
    ask(&engine, alpha, bench.xdp(1), chosen(bench, &["pod*"], &[])).unwrap();
    let by_name = engine.attached(bravo, at_pod("pod1"));
    let tcx = bench.kernel.features().tcx.then(|| {
        let (interface, direction) = (bench.interface("pod1"), Direction::Ingress);
        engine.attached(xray, AttachPoint::Tcx { interface, direction, priority: 1 })
    });
    assert_eq!(engine.names(&bench.interface("pod1"), XDP), ["alpha", "bravo"]);
    bench.kernel.rename_interface(netns, "pod1", "pod2");
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.attached, report.detached, report.waiting), (0, 0, 0), "{report:?}");
    assert_eq!(engine.names(&bench.interface("pod2"), XDP), ["alpha", "bravo"]);
    for link in engine.all_links() {
        assert_eq!((link.standing.name(), link.record.point.hook().unwrap().0.name.as_str()), ("ok", "pod2"));
    }
    bench.kernel.rename_interface(netns, "pod2", "wan");
    let report = engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!((report.attached, report.detached, report.waiting), (0, 1, 0), "{report:?}");
    assert_eq!(engine.names(&bench.interface("wan"), XDP), ["bravo"]);
    assert_eq!(engine.describe_link(by_name).unwrap().hook.unwrap(), format!("xdp:wan@{}", netns.display()));
    if let Some(tcx) = tcx {
        assert_eq!(engine.describe_link(tcx).unwrap().standing, Standing::Running);
    }
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.names(&bench.interface("wan"), XDP), ["bravo"]);
}

fn attachment_by_name_waits_for_interface<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "xray", "tango"];
    let [alpha, bravo, xray, tango] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let netns = bench.netns.as_path();
    bench.kernel.add_interface(netns, "pod1");
    let pod = || bench.interface("pod1");
    let proceed_on = bench.xdp(0).proceed_on().unwrap();
    let at = |priority| AttachPoint::Xdp { interface: pod(), priority, proceed_on };
    engine.attached(alpha, at(1));
    engine.attached(bravo, at(2));
    let direction = Direction::Ingress;
    let proceed_on = bench.tc(direction, 0).proceed_on().unwrap();
    engine.attached(tango, AttachPoint::Tc { interface: pod(), direction, priority: 1, proceed_on });
    let mut count = 3;
    if bench.kernel.features().tcx {
        engine.attached(xray, AttachPoint::Tcx { interface: pod(), direction, priority: 1 });
        count += 1;
    }
    let ids: Vec<_> = engine.all_links().iter().map(|link| link.record.id).collect();
    for round in 0..2 {
        bench.kernel.remove_interface(netns, "pod1");
        let report = engine.follow_interfaces(Some(netns)).unwrap();
        assert_eq!((report.problems.len(), report.detached), (0, 0), "{report:?}");
        assert_eq!(report.waiting, count - 1, "{report:?}");
        assert!(engine.all_links().iter().all(|link| link.standing == Standing::Waiting));
        for folder in ["xdp", "links", "tc-ingress"] {
            assert!(pins(&*bench.kernel, Path::new(folder)).is_empty(), "{folder}");
        }
        assert!(engine.follow_interfaces(Some(netns)).unwrap().is_empty());
        if round == 1 {
            bench.kernel.add_interface(netns, "pod1");
            engine.attached(bravo, at(0));
        } else {
            bench.kernel.add_interface(netns, "pod1");
        }
        let report = engine.follow_interfaces(Some(netns)).unwrap();
        assert_eq!((report.returned, report.problems.len()), (count - 1, 0), "{report:?}");
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
        assert!(ids.iter().all(|id| engine.describe_link(*id).is_ok()));
    }
    assert_eq!(engine.names(&pod(), XDP), ["bravo", "alpha", "bravo"]);
    for link in engine.all_links() {
        engine.detach(link.record.id).unwrap();
    }
    drop(engine);
    assert!(bench.records().iter().all(|(name, _)| name.starts_with("programs/")), "{:?}", bench.records());
}

fn a_link_that_waits_can_be_detached<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let netns = bench.netns.as_path();
    bench.kernel.add_interface(netns, "pod1");
    let (interface, proceed_on) = (bench.interface("pod1"), bench.xdp(0).proceed_on().unwrap());
    let at = |priority| AttachPoint::Xdp { interface: interface.clone(), priority, proceed_on };
    let first = engine.attached(alpha, at(1));
    engine.attached(bravo, at(2));
    bench.kernel.remove_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    engine.detach(first).unwrap();
    bench.kernel.add_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(engine.names(&bench.interface("pod1"), XDP), ["bravo"]);
    bench.kernel.remove_interface(netns, "pod1");
    engine.follow_interfaces(Some(netns)).unwrap();
    engine.unload(bravo).unwrap();
    bench.kernel.add_interface(netns, "pod1");
    assert!(engine.follow_interfaces(Some(netns)).unwrap().is_empty());
}

fn failed_match_is_reported_and_others_attached<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, trace] = engine.loads(&bench.request("programs", &["alpha", "trace"]))[..] else { panic!() };
    let by_hand = engine.attached(alpha, bench.xdp(0));
    let names = chosen(bench, &["left", "right"], &[]);
    let matching = ask(&engine, alpha, bench.xdp(1), names.clone()).unwrap();
    assert_eq!(matching.links.len(), 1);
    let [failure] = &matching.failures[..] else { panic!("{:?}", matching.failures) };
    assert!(failure.contains("left") && failure.contains(&format!("link {by_hand}")), "{failure}");
    let nothing = ask(&engine, trace, bench.xdp(0), names.clone()).unwrap_err();
    assert_eq!(nothing.kind(), Reason::Precondition);
    let trace = ask(&engine, trace, crate::bench::tracepoint("sched_switch"), names.clone()).unwrap_err();
    assert_eq!(trace.kind(), Reason::Invalid);
    assert_eq!(ask(&engine, ProgramId(u32::MAX), bench.xdp(0), names).unwrap_err().kind(), Reason::NotFound);
    assert_eq!(engine.list_matching().unwrap().len(), 1);
    // A pattern without matches is valid, and so is a namespace that does not exist yet.
    let none = ask(&engine, alpha, bench.xdp(1), chosen(bench, &["nothing*"], &[])).unwrap();
    assert!(none.links.is_empty() && none.failures.is_empty());
    let later = InterfaceMatch::parse(["left"], [], [], [Path::new("/run/netns/bpfman-later-*")]).unwrap();
    assert!(ask(&engine, alpha, bench.xdp(1), later).unwrap().links.is_empty());
    engine.unload(alpha).unwrap();
    assert!(engine.list_matching().unwrap().is_empty() && engine.all_links().is_empty());
}

fn a_start_ends_what_no_longer_matches_anything<K: Testable>(bench: &Bench<K>) {
    let netns = bench.netns.as_path();
    bench.kernel.add_interface(netns, "pod1");
    bench.kernel.add_interface(netns, "pod2");
    {
        let engine = bench.engine();
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        ask(&engine, alpha, bench.xdp(0), chosen(bench, &["pod*"], &[])).unwrap();
        assert_eq!(attached_to(&engine), ["pod1", "pod2"]);
    }
    bench.kernel.remove_interface(netns, "pod1");
    bench.kernel.add_interface(netns, "pod3");
    let engine = bench.engine();
    assert_eq!(attached_to(&engine), ["pod2"]);
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), ["pod2", "pod3"]);
    assert_eq!(engine.list_matching().unwrap()[0].links.len(), 2);
    let watched: Vec<_> = engine.watched_namespaces().into_iter().collect();
    assert_eq!(watched, [Some(bench.netns.clone())]);
}

#[test]
fn simulated_a_star_waits_for_interfaces_to_be_up() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let netns = bench.netns.as_path();
    for name in ["left", "right"] {
        Testable::switch_interface(&*bench.kernel, netns, name, name == "left");
    }
    ask(&engine, alpha, bench.xdp(0), chosen(&bench, &["*"], &["lo"])).unwrap();
    assert_eq!(attached_to(&engine), ["left"]);
    Testable::switch_interface(&*bench.kernel, netns, "right", true);
    Testable::switch_interface(&*bench.kernel, netns, "left", false);
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(attached_to(&engine), ["left", "right"], "what is switched off is not let go");
}

#[test]
fn simulated_a_namespace_that_is_gone_takes_its_links_along() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let netns = bench.netns.as_path();
    ask(&engine, alpha, bench.xdp(0), chosen(&bench, &["left"], &[])).unwrap();
    let by_name = engine.attached(bravo, bench.xdp(1));
    bench.kernel.remove_namespace(netns);
    engine.follow_interfaces(Some(netns)).unwrap_err();
    let links = engine.all_links();
    assert_eq!(links.len(), 1);
    assert!(links[0].record.id == by_name && links[0].standing == Standing::Waiting, "{links:?}");
    assert!(pins(&*bench.kernel, Path::new("xdp")).is_empty());
    bench.kernel.add_namespace(netns);
    bench.kernel.add_interface(Some(netns), "left");
    engine.follow_interfaces(Some(netns)).unwrap();
    assert_eq!(
        engine.names(&Interface { name: "left".to_owned(), netns: Some(netns.to_owned()) }, XDP).len(),
        2
    );
}

crate::on_both_kernels!(
    every_interface_that_matches_is_attached_to_now_and_later,
    an_interface_that_has_another_name_is_followed_or_let_go,
    attachment_by_name_waits_for_interface,
    a_link_that_waits_can_be_detached,
    failed_match_is_reported_and_others_attached,
    a_start_ends_what_no_longer_matches_anything,
);

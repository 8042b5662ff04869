//! Order among third-party programs at tcx hooks, which appear, disappear and have any position.

use std::path::Path;

use bpfman_model::{BoundText, Direction, HookKey, HookKind, Insn, ProgramType, Reason, op};
use bpfmand_engine::{Engine, UpdateLinkRequest};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Kernel, LinkTarget, ListAnchor, ProgramLoad};

use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};

pub const TCX: HookKind = HookKind::Tcx(Direction::Ingress);

pub fn stranger<K: Kernel>(bench: &Bench<K>, name: &str, verdict: i32, anchor: ListAnchor) {
    strange(&*bench.kernel, &bench.netns, &key(bench), name, verdict, anchor);
}

pub fn strange<K: Kernel>(
    kernel: &K,
    netns: &Path,
    key: &HookKey,
    name: &str,
    verdict: i32,
    anchor: ListAnchor,
) {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, verdict), Insn::new(op::EXIT, 0, 0, 0, 0)];
    let text = BoundText::of_one_function(name, "GPL", insns);
    let load = ProgramLoad::new(name, &text, ProgramType::Tcx.into());
    let program = kernel.load_program(&load).unwrap().program;
    let target = LinkTarget::Tcx {
        home: key.netns.into(),
        netns: Some(netns),
        ifindex: key.ifindex,
        direction: Direction::Ingress,
        anchor,
        expected_revision: None,
    };
    let link = kernel.attach(&program, &target).unwrap();
    kernel.pin(&link, &Path::new("strangers").join(format!("{name}_{verdict}"))).unwrap();
}

pub fn key<K: Kernel>(bench: &Bench<K>) -> HookKey {
    bench.kernel.find_hook(&bench.left(), TCX).unwrap()
}

pub fn runs<K: Kernel>(bench: &Bench<K>) -> Vec<String> {
    names(&*bench.kernel, &bench.netns, &key(bench))
}

pub fn names<K: Kernel>(kernel: &K, netns: &Path, key: &HookKey) -> Vec<String> {
    let contents = kernel.hook_contents(Some(netns), key).unwrap();
    contents
        .entries
        .iter()
        .map(|entry| kernel.program(entry.program.unwrap()).unwrap().unwrap().name)
        .collect()
}

pub fn open<K: Testable>(bench: &Bench<K>) -> bool {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return false;
    }
    bench.kernel.make_folder(Path::new("strangers")).unwrap();
    true
}

pub fn is_fine<K: Testable>(engine: &Engine<K>) -> bool {
    engine.all_links().iter().all(|link| link.standing.is_running() && link.running.is_some())
}

fn own_links_run_beside_third_party_anchors<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let [xray, yankee, zulu] = engine.loads(&bench.request("programs", &["xray", "yankee", "zulu"]))[..]
    else {
        panic!()
    };
    stranger(bench, "first", 1, ListAnchor::Last);
    stranger(bench, "second", 2, ListAnchor::Last);
    attach(&engine, xray, bench.tcx(50), intent("", &["foreign:second"], &["foreign:first"])).unwrap();
    assert_eq!(runs(bench), ["first", "xray", "second"]);
    attach(&engine, yankee, bench.tcx(90), intent("front", &["foreign:first"], &[])).unwrap();
    assert_eq!(runs(bench), ["yankee", "first", "xray", "second"]);
    let before = (runs(bench), engine.all_links());
    let refused = |before: &[&str], after: &[&str]| {
        let error = attach(&engine, zulu, bench.tcx(0), intent("", before, after)).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, message) = refused(&["foreign:third"], &[]);
    assert_eq!(kind, Reason::NotFound);
    assert!(message.contains("foreign:first, foreign:second"), "{message}");
    let (kind, message) = refused(&["foreign:first"], &["foreign:second"]);
    assert_eq!(kind, Reason::Conflict);
    assert!(message.contains("(first) runs before") && message.contains("does not change"), "{message}");
    // Indirect: front runs before the first program, which runs before the second.
    let (kind, message) = refused(&["role=front"], &["foreign:second"]);
    assert_eq!(kind, Reason::Conflict, "{message}");
    assert_eq!((runs(bench), engine.all_links()), before);
    engine.attached(zulu, bench.tcx(60));
    assert_eq!(runs(bench), ["yankee", "first", "xray", "zulu", "second"]);
    assert!(is_fine(&engine));
}

fn own_links_follow_changes_of_third_party_programs<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let [xray, yankee] = engine.loads(&bench.request("programs", &["xray", "yankee"]))[..] else { panic!() };
    stranger(bench, "guard", 1, ListAnchor::Last);
    let link = attach(&engine, xray, bench.tcx(5), intent("", &["foreign:guard"], &[])).unwrap();
    let other = engine.attached(yankee, bench.tcx(9));
    assert_eq!(runs(bench), ["xray", "yankee", "guard"]);
    assert!(engine.check_order(&key(bench)).unwrap().moved.is_empty());
    stranger(bench, "guard", 2, ListAnchor::First);
    assert_eq!(engine.ordered_hooks(), [key(bench)]);
    assert_eq!(engine.check_all().mended.len(), 1);
    assert_eq!(runs(bench), ["xray", "guard", "yankee", "guard"]);
    let moved = engine.describe_link(link.record.id).unwrap();
    assert_eq!((moved.running, moved.standing.name()), (Some(xray), "ok"));
    assert_ne!(moved.kernel_link, link.kernel_link, "the kernel moves no links");
    assert!(engine.check_order(&key(bench)).unwrap().moved.is_empty());
    for verdict in [1, 2] {
        bench.kernel.end_link(&Path::new("strangers").join(format!("guard_{verdict}"))).unwrap();
    }
    let report = engine.check_order(&key(bench)).unwrap();
    assert_eq!((report.moved.len(), report.waiting.len()), (0, 1));
    assert_eq!(engine.describe_link(link.record.id).unwrap().waits_for.len(), 1);
    stranger(bench, "guard", 3, ListAnchor::First);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(runs(bench), ["xray", "guard", "yankee"]);
    assert!(engine.describe_link(link.record.id).unwrap().waits_for.is_empty());
    let request = UpdateLinkRequest { priority: Some(1), ..UpdateLinkRequest::of(other) };
    engine.update_link(&request).unwrap();
    assert_eq!(runs(bench), ["yankee", "xray", "guard"]);
    engine.update_link(&UpdateLinkRequest { position: Some(1), ..UpdateLinkRequest::of(other) }).unwrap();
    assert_eq!(engine.names(&bench.left(), TCX), ["xray", "yankee"]);
    assert!(is_fine(&engine));
    let both = UpdateLinkRequest {
        order: Some(intent("", &["foreign:guard"], &["foreign:late"])),
        ..UpdateLinkRequest::of(link.record.id)
    };
    assert_eq!(engine.update_link(&both).unwrap_err().kind(), Reason::NotFound);
    stranger(bench, "late", 4, ListAnchor::Last);
    let error = engine.update_link(&both).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert_eq!(runs(bench), ["xray", "yankee", "guard", "late"].map(str::to_owned).to_vec());
}

fn chain_among_third_party_programs_follows_intents<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    let tc = |priority| bench.tc(Direction::Ingress, priority);
    let tc_key = HookKey { kind: HookKind::Tc(Direction::Ingress), ..key(bench) };
    stranger(bench, "guard", 1, ListAnchor::Last);
    stranger(bench, "meter", 2, ListAnchor::Last);
    let link = attach(&engine, tango, tc(5), intent("", &["foreign:guard"], &[])).unwrap();
    let at = |bench: &Bench<K>| {
        let strangers = ["guard", "meter"];
        runs(bench).iter().position(|name| !strangers.contains(&name.as_str())).unwrap()
    };
    assert_eq!(at(bench), 0);
    let error = attach(&engine, tulip, tc(6), intent("", &[], &["foreign:meter"])).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert!(error.to_string().contains("foreign:meter of the new link"), "{error}");
    let error = attach(&engine, tulip, tc(6), intent("", &["foreign:nobody"], &[])).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    attach(&engine, tulip, tc(6), intent("", &["foreign:meter"], &[])).unwrap();
    assert_eq!((at(bench), runs(bench).len()), (0, 3));
    stranger(bench, "guard", 3, ListAnchor::First);
    let report = engine.check_order(&tc_key).unwrap();
    assert_eq!(report.moved.len(), 1);
    assert_eq!((at(bench), runs(bench).len()), (0, 4));
    assert!(is_fine(&engine));
    let after = UpdateLinkRequest {
        order: Some(intent("", &[], &["foreign:guard"])),
        ..UpdateLinkRequest::of(link.record.id)
    };
    engine.update_link(&after).unwrap();
    assert_eq!(at(bench), 2);
    drop(engine);
    let engine = bench.engine();
    assert_eq!((at(bench), runs(bench).len()), (2, 4));
    assert!(is_fine(&engine));
    let by_filter = Bench { tc_by_clsact: true, ..crate::simulated::bench() };
    let engine = by_filter.engine();
    let tango = engine.loads(&by_filter.request("programs", &["tango"]))[0];
    let point = by_filter.tc(Direction::Ingress, 1);
    let error = attach(&engine, tango, point, intent("", &["foreign:guard"], &[])).unwrap_err();
    assert!(error.to_string().contains("clsact filter"), "{error}");
}

crate::on_both_kernels!(
    own_links_run_beside_third_party_anchors,
    own_links_follow_changes_of_third_party_programs,
    chain_among_third_party_programs_follows_intents,
);

#[test]
fn program_attached_without_a_link_is_an_ordinary_place() {
    let bench = crate::simulated::bench();
    open(&bench);
    let engine = bench.engine();
    let [xray, yankee] = engine.loads(&bench.request("programs", &["xray", "yankee"]))[..] else { panic!() };
    let zulu = engine.loads(&bench.request("programs", &["zulu"]))[0];
    let program = bench.kernel.open_program(zulu).unwrap().unwrap();
    let hook = key(&bench);
    let netns = Some(bench.netns.as_path());
    bench
        .kernel
        .attach_tcx_program(netns, hook.ifindex, Direction::Ingress, &program, ListAnchor::Last)
        .unwrap();
    attach(&engine, xray, bench.tcx(9), intent("", &["foreign:zulu"], &[])).unwrap();
    attach(&engine, yankee, bench.tcx(1), intent("", &[], &[&format!("foreign:{zulu}")])).unwrap();
    assert_eq!(runs(&bench), ["xray", "zulu", "yankee"]);
    assert_eq!(engine.names(&bench.left(), TCX), ["xray", "yankee"]);
    assert_eq!(engine.check_order(&hook).unwrap().moved, []);
}

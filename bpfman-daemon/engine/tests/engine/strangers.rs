//! Third-party programs at our hooks: they are named and never changed, and what they displaced is restored.

use std::path::Path;

use bpfman_model::{Direction, HookAttachment, HookKey, HookKind, ProgramType, Reason};
use bpfmand_engine::{Attached, Engine, EngineError, HookCheck, HookConflict, Loss, Standing};
use bpfmand_kernel::{FilterPlace, Kernel, LinkTarget, ListAnchor, TcFilter, XdpMode};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::kernel_rules::program;

const XDP: HookKind = HookKind::Xdp;
const TC: HookKind = HookKind::Tc(Direction::Ingress);
const TCX: HookKind = HookKind::Tcx(Direction::Ingress);

fn key<K: Testable>(bench: &Bench<K>, kind: HookKind) -> HookKey {
    bench.kernel.find_hook(&bench.left(), kind).unwrap()
}

fn at_xdp<K: Testable>(bench: &Bench<K>) -> LinkTarget<'_> {
    LinkTarget::Xdp {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: key(bench, XDP).ifindex,
        mode: XdpMode::Generic,
    }
}

fn at_tcx<K: Testable>(bench: &Bench<K>, anchor: ListAnchor) -> LinkTarget<'_> {
    LinkTarget::Tcx {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: key(bench, TC).ifindex,
        direction: Direction::Ingress,
        anchor,
        expected_revision: None,
    }
}

fn conflict(error: EngineError) -> HookConflict {
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    match error {
        EngineError::HookHeld(conflict) => *conflict,
        other => panic!("{other}"),
    }
}

/// Detaches a link like `bpftool link detach`: the link still exists, but runs nothing.
pub fn force_off<K: Testable>(bench: &Bench<K>, pin: &str) {
    let kernel = &*bench.kernel;
    let link = kernel.open_pin(Path::new(pin)).unwrap().unwrap();
    kernel.pin(&link, Path::new("stranger")).unwrap();
    drop(link);
    kernel.end_link(Path::new("stranger")).unwrap_err();
}

fn hook_pin<K: Testable>(bench: &Bench<K>, folder: &str) -> String {
    let all = pins(&*bench.kernel, Path::new(folder));
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn mended<K: Kernel>(engine: &Engine<K>, key: &HookKey, why: &str) {
    match engine.check_hook(key).unwrap() {
        HookCheck::Mended(what) => assert!(what.cause().contains(why), "{what}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.check_hook(key).unwrap(), HookCheck::Right);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
}

fn a_hook_held_by_another_is_named_in_the_conflict<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let kernel = &*bench.kernel;
    let theirs = program(kernel, ProgramType::Xdp, 2, None);
    let facts = kernel.program_of(&theirs).unwrap();
    let link = kernel.attach(&theirs, &at_xdp(bench)).unwrap();
    let id = kernel.link_of(&link).unwrap().id;
    let before = pins(kernel, Path::new(""));
    let error = engine.try_attach(alpha, bench.xdp(0)).unwrap_err();
    let hint = error.hint().unwrap().to_string();
    let text = error.to_string();
    let found = conflict(error);
    assert_eq!(found.program.as_ref().unwrap().id, facts.id);
    assert!(matches!(&found.attached, Attached::Link { links, .. } if *links == [id]), "{found:?}");
    for word in [
        "xdp:left".to_owned(),
        format!("program {} \"rule\" (tag {})", facts.id, facts.tag_text()),
        format!("link {id} in generic mode"),
    ] {
        assert!(text.contains(&word), "{text} lacks {word}");
    }
    assert!(hint.contains(&format!("bpfman adopt {id}")), "{hint}");
    assert_eq!(pins(kernel, Path::new("")), before);
    assert_eq!(kernel.link_of(&link).unwrap().program, facts.id);
    drop(link);
    let free = || engine.try_attach(alpha, bench.xdp(0));
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while free().is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
}

fn third_party_tc_programs_are_shown_and_not_changed<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let engine = bench.engine();
    let [tango, xray] = engine.loads(&bench.request("programs", &["tango", "xray"]))[..] else { panic!() };
    let kernel = &*bench.kernel;
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    engine.attached(xray, bench.tcx(1));
    let theirs = program(kernel, ProgramType::Tc, 0, None);
    let their_id = kernel.program_of(&theirs).unwrap().id;
    let link = kernel.attach(&theirs, &at_tcx(bench, ListAnchor::First)).unwrap();
    let filter = TcFilter { priority: 1, handle: 1 };
    let at = FilterPlace {
        home: key(bench, TC).netns.into(),
        netns: Some(&bench.netns),
        ifindex: key(bench, TC).ifindex,
        direction: Direction::Ingress,
        filter,
    };
    kernel.add_filter(&at, &theirs, "cil_from_netdev").unwrap();
    for kind in [TC, TCX] {
        let entries = engine.hook_entries(&bench.left(), kind).unwrap();
        let of_others: Vec<_> = entries.iter().filter(|entry| !entry.ours).collect();
        assert!(matches!(of_others[0].via, HookAttachment::TcxLink { .. }), "{of_others:?}");
        assert_eq!(of_others[0].kernel_link, Some(kernel.link_of(&link).unwrap().id));
        assert_eq!(of_others[0].program, Some(their_id));
        assert_eq!(entries.iter().filter(|entry| entry.ours).count(), 2, "{entries:?}");
        assert!(!entries[0].ours, "theirs is first");
        if kind == TC {
            let last = entries.last().unwrap();
            let HookAttachment::Filter(filter) = &last.via else { panic!("{last:?}") };
            assert_eq!((filter.priority, filter.handle, filter.direct_action), (1, 1, true));
        }
    }
    for link in engine.all_links() {
        engine.detach(link.record.id).unwrap();
    }
    assert_eq!(kernel.filter_program(&at).unwrap(), Some(their_id));
    assert_eq!(kernel.link_of(&link).unwrap().program, their_id);
}

fn a_filter_that_someone_removed_comes_back<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    engine.attached(tulip, bench.tc(Direction::Ingress, 2));
    let kernel = &*bench.kernel;
    let key = key(bench, TC);
    let find = || {
        let contents = kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        let filters = contents.entries.iter().filter_map(|entry| match &entry.via {
            bpfman_model::HookAttachment::Filter(filter) => {
                Some((filter.priority, filter.handle, entry.program))
            }
            _ => None,
        });
        filters.collect::<Vec<_>>()
    };
    let at = |priority, handle| FilterPlace {
        home: key.netns.into(),
        netns: Some(&bench.netns),
        ifindex: key.ifindex,
        direction: Direction::Ingress,
        filter: TcFilter { priority, handle },
    };
    let [(priority, handle, Some(entry))] = find()[..] else { panic!("{:?}", find()) };
    assert!(priority > 1 && handle > 0xffff, "no number that tools choose");
    assert_eq!(engine.check_hook(&key).unwrap(), HookCheck::Right);
    kernel.remove_filter(&at(priority, handle), entry).unwrap();
    assert!(engine.all_links().iter().all(|link| link.standing != Standing::Running));
    mended(&engine, &key, "its filter was removed");
    let [(priority, handle, Some(entry))] = find()[..] else { panic!("{:?}", find()) };
    let theirs = program(kernel, ProgramType::Tc, 0, None);
    let their_id = kernel.program_of(&theirs).unwrap().id;
    kernel.replace_filter(&at(priority, handle), &theirs, entry, "stranger").unwrap();
    mended(&engine, &key, &format!("replaced by one of program {their_id} \"rule\""));
    assert_eq!(kernel.filter_program(&at(priority, handle)).unwrap(), Some(their_id));
    assert_eq!(find().len(), 2);
    assert_eq!(engine.drift_counts(), (2, 2));
    for link in engine.all_links() {
        engine.detach(link.record.id).unwrap();
    }
    assert_eq!(find(), [(priority, handle, Some(their_id))]);
}

fn a_link_that_someone_forced_off_or_unpinned_comes_back<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "xray"];
    let [alpha, bravo, xray] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    let key = key(bench, XDP);
    let before = engine.chain(&bench.left(), XDP).unwrap();
    force_off(bench, &hook_pin(bench, "xdp"));
    mended(&engine, &key, "detached by force");
    let now = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!(now.members, before.members);
    assert_ne!(now.kernel_link, before.kernel_link);
    // While another process holds the link, removing its pin ends nothing: it is pinned again.
    let pin = hook_pin(bench, "xdp");
    let held = bench.kernel.open_pin(Path::new(&pin)).unwrap().unwrap();
    bench.kernel.unpin(Path::new(&pin)).unwrap();
    mended(&engine, &key, "the pin of its link was removed");
    assert_eq!(engine.chain(&bench.left(), XDP).unwrap().kernel_link, now.kernel_link);
    drop(held);
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let link = engine.attached(xray, bench.tcx(1));
    force_off(bench, &hook_pin(bench, "links"));
    assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Right);
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    let report = engine.check_all();
    assert_eq!((report.checked, report.mended.len(), report.lost.len()), (2, 0, 0), "{report:?}");
}

fn link_forced_off_while_the_daemon_was_down_returns_at_start<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let pin = hook_pin(bench, "xdp");
    drop(engine);
    force_off(bench, &pin);
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (1, Vec::new()));
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
    assert_eq!(engine.check_hook(&key(bench, XDP)).unwrap(), HookCheck::Right);
}

fn program_that_replaced_a_chain_is_not_overwritten<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    let (kernel, key) = (&*bench.kernel, key(bench, XDP));
    let theirs = program(kernel, ProgramType::Xdp, 2, None);
    let their_id = kernel.program_of(&theirs).unwrap().id;
    let pin = hook_pin(bench, "xdp");
    let link = kernel.open_pin(Path::new(&pin)).unwrap().unwrap();
    let ours = kernel.open_program(alpha).unwrap().unwrap();
    kernel.replace(&link, &theirs, &ours).unwrap();
    for _ in 0..2 {
        let HookCheck::Lost(what) = engine.check_hook(&key).unwrap() else { panic!() };
        assert_eq!(what, Standing::Replaced { by: their_id, name: Some("rule".to_owned()) });
    }
    let standing = engine.all_links().remove(0).standing;
    assert!(standing.to_string().starts_with("replaced: someone put program"), "{standing}");
    assert_eq!(kernel.link_of(&link).unwrap().program, their_id);
    assert_eq!(engine.drift_counts(), (1, 0), "what stays lost counts once");
    let error = engine.try_attach(bravo, bench.xdp(2)).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    kernel.replace(&link, &ours, &theirs).unwrap();
    assert_eq!(engine.check_hook(&key).unwrap(), HookCheck::Right);
    assert_eq!(engine.all_links().remove(0).standing, Standing::Running);
    drop(link);
    force_off(bench, &pin);
    let link = kernel.attach(&theirs, &at_xdp(bench)).unwrap();
    let HookCheck::Lost(what) = engine.check_hook(&key).unwrap() else { panic!() };
    let their_link = kernel.link_of(&link).unwrap().id;
    let Standing::Lost { how: Loss::ForcedOff, why: Some(why) } = what else { panic!("{what}") };
    assert!(why.contains(&format!("link {their_link}")), "{why}");
    assert_eq!(kernel.link_of(&link).unwrap().program, their_id);
    assert!(kernel.list_folder(Path::new("pending")).unwrap().is_empty());
    drop((link, theirs));
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while engine.check_hook(&key).unwrap() != HookCheck::Right {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(engine.all_links().remove(0).standing, Standing::Running);
}

crate::on_both_kernels!(
    link_forced_off_while_the_daemon_was_down_returns_at_start,
    a_hook_held_by_another_is_named_in_the_conflict,
    third_party_tc_programs_are_shown_and_not_changed,
    a_link_that_someone_forced_off_or_unpinned_comes_back,
    program_that_replaced_a_chain_is_not_overwritten,
);

mod by_clsact {
    use super::*;

    #[test]
    fn simulated_a_filter_that_someone_removed_comes_back() {
        a_filter_that_someone_removed_comes_back(&Bench { tc_by_clsact: true, ..crate::simulated::bench() });
    }

    #[test]
    fn linux_a_filter_that_someone_removed_comes_back() {
        let bench = crate::linux::bench("removed_filter");
        a_filter_that_someone_removed_comes_back(&Bench { tc_by_clsact: true, ..bench });
    }
}

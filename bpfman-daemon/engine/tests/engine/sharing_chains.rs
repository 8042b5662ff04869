//! Programs of chains: loaded once for all hooks of one composition, unloaded with the last of them, and verified.

use std::path::Path;

use bpfman_model::{AttachPoint, Direction, HookKind, Interface, ProgramId, Reason};
use bpfmand_engine::{Engine, HookChange, ReplaceRequest, SwitchCaller};

use crate::bench::{Ask as _, Bench, Testable, pins};

const XDP: HookKind = HookKind::Xdp;

fn at(point: &AttachPoint, interface: Interface) -> AttachPoint {
    match point.clone() {
        AttachPoint::Xdp { priority, proceed_on, .. } => AttachPoint::Xdp { interface, priority, proceed_on },
        other => other,
    }
}

fn entry<K: Testable>(engine: &Engine<K>, interface: &Interface) -> ProgramId {
    engine.chain(interface, XDP).unwrap().entry.unwrap().id
}

fn hooks_of_one_composition_run_one_program<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let (left, right) = (bench.left(), bench.interface("right"));
    for interface in [&left, &right] {
        engine.attached(alpha, at(&bench.xdp(1), interface.clone()));
        engine.attached(bravo, at(&bench.xdp(2), interface.clone()));
    }
    let shared = entry(&engine, &left);
    assert_eq!(entry(&engine, &right), shared);
    assert_eq!(engine.show_chain(&left, XDP).unwrap().hooks_sharing, 2);
    assert_eq!(pins(&*bench.kernel, Path::new("chains")).len(), 2, "one program and its counters");
    let [.., last] = engine.all_links()[..].iter().map(|link| link.record.id).collect::<Vec<_>>()[..] else {
        panic!()
    };
    engine.detach(last).unwrap();
    assert_eq!(entry(&engine, &left), shared);
    assert_eq!(entry(&engine, &right), alpha);
    // A hook that returns to the loaded composition uses it, without verification by the kernel.
    engine.attached(bravo, at(&bench.xdp(2), right.clone()));
    assert_eq!(entry(&engine, &right), shared);
    engine.unload(bravo).unwrap();
    assert!(bench.kernel.program(shared).unwrap().is_none(), "gone with the last hook");
    assert!(pins(&*bench.kernel, Path::new("chains")).is_empty());
}

fn a_function_that_takes_anothers_place_is_in_the_chain<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let guest = engine.loads(&bench.request("sharing", &["guest"]))[0];
    engine.attached(alpha, bench.xdp(1));
    engine.attached(guest, bench.xdp(2));
    let other = ReplaceRequest {
        name: Some("host".to_owned()),
        ..crate::replacements::replacement(bench, guest, "sharing")
    };
    engine.replace_program(&other).unwrap();
    let found = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    assert!(found.matches(), "{found:#?}");
}

fn a_restart_finds_what_is_shared<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    for program in [alpha, bravo] {
        engine.attached(program, bench.xdp(1));
    }
    let shared = entry(&engine, &bench.left());
    let before = pins(&*bench.kernel, Path::new(""));
    drop(engine);
    let engine = bench.engine();
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    let right = bench.interface("right");
    for program in [alpha, bravo] {
        engine.attached(program, at(&bench.xdp(1), right.clone()));
    }
    assert_eq!(entry(&engine, &right), shared);
}

fn a_chain_is_what_its_members_bytecode_makes<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "tango"];
    let [alpha, bravo, tango] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let ingress = HookKind::Tc(Direction::Ingress);
    engine.attached(alpha, bench.xdp(1));
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    let verified = |kind| {
        let found = engine.verify_chain(&bench.left(), kind, None).unwrap();
        assert!(found.matches(), "{found:#?}");
        found.parts.iter().map(|part| part.part.clone()).collect::<Vec<_>>()
    };
    assert_eq!(verified(XDP), ["bytecode of alpha", "member alpha", "what the hook runs"]);
    assert_eq!(verified(ingress).last().unwrap(), "program 1 of 1");
    engine.attached(bravo, bench.xdp(2));
    assert_eq!(verified(XDP).last().unwrap(), "program 1 of 1");
}

fn bytecode_that_changed_on_disk_is_named<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let folder = bench.folder.path().join("bytecode");
    for file in std::fs::read_dir(folder).unwrap() {
        std::fs::write(file.unwrap().path(), b"another").unwrap();
    }
    let found = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    let wrong: Vec<_> = found.parts.iter().filter(|part| !part.matches).collect();
    assert_eq!(wrong.len(), 1, "{found:#?}");
    assert_eq!(wrong[0].part, "bytecode of alpha");
    assert!(wrong[0].found.contains("changed on disk"), "{found:#?}");
}

fn third_party_program_at_own_position_is_named<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie"];
    let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    for program in [alpha, bravo] {
        engine.attached(program, bench.xdp(1));
    }
    let ours = entry(&engine, &bench.left());
    let folder = bench.kernel.list_folder(Path::new("xdp")).unwrap();
    let link = bench.kernel.open_pin(&Path::new("xdp").join(&folder[0])).unwrap().unwrap();
    let handle = |id| bench.kernel.open_program(id).unwrap().unwrap();
    bench.kernel.replace(&link, &handle(charlie), &handle(ours)).unwrap();
    let found = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    assert!(!found.matches());
    let part = found.parts.iter().find(|part| part.part == "what the hook runs").unwrap();
    assert_eq!(part.expected, format!("program {ours}"));
    assert_eq!(part.found, format!("program {charlie}"));
}

fn frozen_hook_refuses_changes_and_names_the_owner<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    let hold = |held| HookChange { held: Some(held), ..HookChange::default() };
    let set =
        |change: &HookChange| engine.set_hook(&bench.left(), XDP, change, &SwitchCaller::root("user 4711"));
    assert!(set(&hold(true)).unwrap());
    assert!(!set(&hold(true)).unwrap(), "it is already");
    let before = (engine.all_links(), pins(&*bench.kernel, Path::new("")));
    let refused = [
        engine.try_attach(bravo, bench.xdp(1)).map(drop),
        engine.detach(link),
        engine.unload(alpha),
        set(&HookChange { counters: Some(true), ..HookChange::default() }).map(drop),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict, "{error}");
        assert!(error.to_string().contains("frozen by user 4711"), "{error}");
    }
    assert_eq!((engine.all_links(), pins(&*bench.kernel, Path::new(""))), before);
    drop(engine);
    let engine = bench.engine();
    engine.detach(link).unwrap_err();
    assert!(engine.set_hook(&bench.left(), XDP, &hold(false), &SwitchCaller::root("user 0")).unwrap());
    engine.detach(link).unwrap();
}

fn counting_a_lone_member_joins_it<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let strategy = || engine.chain(&bench.left(), XDP).unwrap().strategy;
    let count = |on| {
        let change = HookChange { counters: Some(on), ..HookChange::default() };
        engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap()
    };
    assert_eq!(strategy(), "direct");
    assert!(count(true));
    assert_eq!(strategy(), "splice");
    assert!(engine.show_chain(&bench.left(), XDP).unwrap().members[0].counters.is_some());
    assert!(count(false));
    assert_eq!(strategy(), "direct");
    assert!(engine.show_chain(&bench.left(), XDP).unwrap().members[0].counters.is_none());
    assert!(pins(&*bench.kernel, Path::new("chains")).is_empty());
}

fn hook_kept_attached_without_members_passes_everything<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    let keep = |on| {
        let change = HookChange { keep_attached: Some(on), ..HookChange::default() };
        engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap()
    };
    assert!(keep(true));
    let kernel_link = engine.chain(&bench.left(), XDP).unwrap().kernel_link;
    engine.detach(link).unwrap();
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!((chain.strategy, chain.members.len(), chain.kernel_link), ("empty", 0, kernel_link));
    assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().matches());
    engine.attached(bravo, bench.xdp(1));
    assert_eq!(engine.chain(&bench.left(), XDP).unwrap().kernel_link, kernel_link, "the same attachment");
    engine.unload(bravo).unwrap();
    assert!(keep(false));
    assert!(engine.chain(&bench.left(), XDP).is_none());
    assert!(pins(&*bench.kernel, Path::new("xdp")).is_empty());
    assert!(pins(&*bench.kernel, Path::new("chains")).is_empty());
}

fn switches_of_a_hook_without_members_are_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let change = HookChange { held: Some(true), ..HookChange::default() };
    let error = engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    let error = engine.verify_chain(&bench.left(), XDP, None).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
}

crate::on_both_kernels!(
    hooks_of_one_composition_run_one_program,
    a_function_that_takes_anothers_place_is_in_the_chain,
    a_restart_finds_what_is_shared,
    a_chain_is_what_its_members_bytecode_makes,
    bytecode_that_changed_on_disk_is_named,
    third_party_program_at_own_position_is_named,
    frozen_hook_refuses_changes_and_names_the_owner,
    counting_a_lone_member_joins_it,
    hook_kept_attached_without_members_passes_everything,
    switches_of_a_hook_without_members_are_refused,
);

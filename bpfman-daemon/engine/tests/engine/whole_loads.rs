//! Replacement of a load: all programs at once with one set of maps; programs may be added and removed.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{Direction, HookKind, LoadRequest, MapId, OrderIntent, ProgramId, ProgramUid, Reason};
use bpfmand_engine::{
    Engine, EngineError, LinkDetails, MapFate, MapPolicy, ReplaceLoadRequest, ReplaceOutcome,
};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Kernel, LinkTarget, MapEntry, XdpMode};

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use crate::replacements::{replacement, until_gone};
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

pub fn version<K: Kernel>(
    bench: &Bench<K>,
    programs: &[ProgramId],
    object: &'static str,
    names: &[&str],
) -> ReplaceLoadRequest {
    let content = [("bpfman.io/content".to_owned(), object.to_owned())];
    ReplaceLoadRequest {
        programs: programs.to_vec(),
        load: LoadRequest { metadata: content.into(), ..bench.request(object, names) },
        maps: MapPolicy::Keep,
        places: None,
    }
}

fn stays(link: &LinkDetails) -> String {
    assert_eq!(link.standing, Standing::Running);
    format!("{} {:?} {:?} {:?}", link.record.id, link.record.point, link.pin, link.record.metadata)
}

fn all_stays<K: Kernel>(engine: &Engine<K>) -> Vec<String> {
    engine.all_links().iter().map(stays).collect()
}

fn uid<K: Kernel>(engine: &Engine<K>, program: ProgramId) -> ProgramUid {
    engine.describe_program(program).unwrap().managed.unwrap().record.uid
}

fn ids(outcome: &ReplaceOutcome) -> Vec<ProgramId> {
    outcome.programs.iter().map(|program| program.id).collect()
}

fn new_version_of_a_load_takes_all_places_with_other_programs<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let has_tcx = bench.kernel.features().tcx;
    let names = ["alpha", "bravo", "charlie", "tango", "tulip", "xray", "yankee", "trace"];
    let old = engine.loads(&bench.request("programs", &names));
    let [alpha, bravo, charlie, tango, tulip, xray, yankee, trace] = old[..] else { panic!() };
    let other = engine.loads(&bench.request("programs", &["delta"]))[0];
    let at_right = |priority| match bench.xdp(priority) {
        bpfman_model::AttachPoint::Xdp { priority, proceed_on, .. } => {
            bpfman_model::AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let mut going_on = vec![
        engine.attached(alpha, bench.xdp(1)),
        engine.attached(other, bench.xdp(2)),
        engine.attached(bravo, bench.xdp(4)),
        engine.attached(alpha, at_right(1)),
        engine.attached(tango, bench.tc(ingress, 1)),
        engine.attached(trace, tracepoint("sched_process_exec")),
        engine.attached(trace, tracepoint("sched_process_exit")),
    ];
    let mut leaving = vec![
        engine.attached(charlie, bench.xdp(3)),
        engine.attached(charlie, at_right(2)),
        engine.attached(tulip, bench.tc(ingress, 2)),
        engine.attached(tulip, bench.tc(egress, 2)),
    ];
    if has_tcx {
        going_on.push(engine.attached(xray, bench.tcx(1)));
        leaving.push(engine.attached(yankee, bench.tcx(2)));
    }
    going_on.sort_unstable();
    let links = engine.all_links();
    let before: Vec<_> = links.iter().filter(|link| !leaving.contains(&link.record.id)).map(stays).collect();
    let of_hooks = |links: &[LinkDetails]| -> BTreeMap<_, _> {
        let lasting = links.iter().filter(|link| going_on.contains(&link.record.id) && link.hook.is_some());
        lasting.map(|link| (link.record.id, link.kernel_link)).collect()
    };
    let uids: Vec<_> = [bravo, alpha, trace, tango, xray].map(|id| uid(&engine, id)).into();
    let counts = engine.map_pins(alpha)["counts"];

    let names = ["bravo", "alpha", "trace", "tango", "xray", "echo"];
    let outcome = engine.replace_load(&version(bench, &old, "second", &names)).unwrap();
    let new = ids(&outcome);
    let switched = 6 + usize::from(has_tcx);
    assert_eq!((outcome.links_switched, outcome.programs_removed), (switched, 3));
    let fates: Vec<_> = outcome.maps.iter().map(|map| (map.name.as_str(), map.fate)).collect();
    assert_eq!(fates, [("counts", MapFate::Kept), ("extra", MapFate::New)]);
    for (program, name) in outcome.programs.iter().zip(names) {
        let managed = program.managed.as_ref().unwrap();
        assert_eq!((managed.record.name.as_str(), managed.standing.name()), (name, "ok"));
        assert_eq!(managed.record.metadata["bpfman.io/content"], "second");
        assert_eq!(managed.previous, None);
    }
    assert_eq!(new[..5].iter().map(|id| uid(&engine, *id)).collect::<Vec<_>>(), uids);
    assert!(outcome.programs[5].managed.as_ref().unwrap().links.is_empty(), "a new one is only loaded");
    let mut all = new.clone();
    all.push(other);
    all.sort_unstable();
    assert_eq!(engine.ids(), all);
    assert_eq!(all_stays(&engine), before);
    assert_eq!(of_hooks(&engine.all_links()), of_hooks(&links), "no hook was left and entered again");
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "delta", "bravo"]);
    assert_eq!(engine.names(&bench.left(), HookKind::Tc(ingress)), ["tango"]);
    assert!(engine.chain(&bench.left(), HookKind::Tc(egress)).is_none());
    assert_eq!(bench.kernel.verdict(new[1]), 1);
    let maps = engine.map_pins(new[0]);
    assert_eq!(maps["counts"], counts);
    for program in &new {
        assert_eq!(engine.map_pins(*program), maps);
    }
    for link in engine.all_links().iter().filter(|link| link.hook.is_none()) {
        assert_eq!(link.running, Some(new[2]));
    }
    for gone in &old {
        until_gone(&*bench.kernel, *gone);
        assert_eq!(engine.describe_program(*gone).unwrap_err().kind(), Reason::NotFound);
    }
    let held = pins(&*bench.kernel, Path::new(""));
    drop(engine);
    let (engine, report) = bench.start();
    assert_eq!((report.reloaded, report.reattached, report.problems.len()), (0, 0, 0), "{report:?}");
    assert_eq!(all_stays(&engine), before);
    assert_eq!(pins(&*bench.kernel, Path::new("")), held);
    let error = engine.rollback_program(new[0], None).unwrap_err();
    assert_eq!(error.kind(), Reason::Precondition);
    assert!(error.to_string().contains("replaced as a whole"), "{error}");
    let back = engine.replace_load(&version(bench, &new, "programs", &["alpha", "bravo", "tango"])).unwrap();
    assert_eq!((back.links_switched, back.programs_removed), (4, 3));
    assert_eq!(
        back.programs.iter().map(|p| uid(&engine, p.id)).collect::<Vec<_>>(),
        [uids[1], uids[0], uids[3]]
    );
    assert_eq!(engine.map_pins(back.programs[0].id)["counts"], counts);
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "delta", "bravo"]);
    for program in ids(&back).into_iter().chain([other]) {
        engine.unload(program).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap().count(), 0);
}

fn impossible_replacement_of_a_load_changes_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let other = engine.loads(&bench.request("refused", &["tame"]))[0];
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    let foreign = crate::kernel_rules::program(&*bench.kernel, bpfman_model::ProgramType::Xdp, 2, None);
    let foreign = bench.kernel.program_of(&foreign).unwrap().id;
    let look = || (all_stays(&engine), pins(&*bench.kernel, Path::new("")), engine.ids());
    let before = look();
    let both = ["alpha", "bravo"];
    let good = || version(bench, &[alpha, bravo], "second", &both);
    let of = |programs: &[ProgramId]| version(bench, programs, "second", &both);
    let absent = bench.folder.path().join("nothing.o");
    let mut cases = vec![
        (of(&[]), Reason::Invalid, "no program is named".to_owned()),
        (of(&[alpha, ProgramId(u32::MAX)]), Reason::NotFound, format!("program {}", u32::MAX)),
        (of(&[foreign]), Reason::NotFound, format!("program {foreign} does not exist or is not managed")),
        (of(&[alpha, bravo, other]), Reason::Invalid, format!("{other} (\"tame\") are of different loads")),
        (of(&[bravo]), Reason::Invalid, format!("program {alpha} (\"alpha\") is of the same load")),
        (version(bench, &[alpha, bravo], "second", &[]), Reason::Invalid, "names no program".to_owned()),
        (version(bench, &[alpha, bravo], "second", &["nobody"]), Reason::Invalid, "nobody".to_owned()),
        (version(bench, &[alpha, bravo], "reshaped", &both), Reason::Conflict, "map \"counts\"".to_owned()),
    ];
    let only =
        ReplaceLoadRequest { maps: MapPolicy::ReuseOnly, ..version(bench, &[alpha, bravo], "grown", &both) };
    cases.push((only, Reason::Conflict, "entries 16 instead of 64".to_owned()));
    let mut missing = good();
    missing.load.source = bpfman_model::BytecodeSource::File(absent);
    cases.push((missing, Reason::NotFound, "nothing.o".to_owned()));
    let mut owned = good();
    owned.load.map_owner = Some(other);
    cases.push((owned, Reason::Invalid, format!("cannot share the maps of program {other}")));
    let mut user = good();
    user.load.caller_uid = 1000;
    cases.push((user, Reason::Denied, "1000".to_owned()));
    for (request, kind, says) in cases {
        let error = engine.replace_load(&request).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&says), "{error} has no {says}");
        assert_eq!(look(), before, "{error}");
    }
    // A program that was replaced alone has its own maps: the maps to keep are ambiguous.
    let fresh =
        bpfmand_engine::ReplaceRequest { maps: MapPolicy::Fresh, ..replacement(bench, alpha, "second") };
    let alone = engine.replace_program(&fresh).unwrap().programs[0].id;
    let error = engine.replace_load(&of(&[alone, bravo])).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict);
    assert!(error.to_string().contains("of the same load has another one of that name"), "{error}");
    let fresh = ReplaceLoadRequest { maps: MapPolicy::Fresh, ..of(&[alone, bravo]) };
    let outcome = engine.replace_load(&fresh).unwrap();
    assert!(outcome.maps.iter().all(|map| map.fate == MapFate::New), "{:?}", outcome.maps);
    for gone in [alpha, alone, bravo] {
        until_gone(&*bench.kernel, gone);
    }
    assert_eq!(all_stays(&engine), before.0);
}

fn enlarged_map_is_copied_once_for_all_programs_of_the_load<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let old = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    let map = |program| bench.kernel.open_map(MapId(engine.map_pins(program)["counts"])).unwrap();
    let entry = MapEntry { key: 3_u32.to_ne_bytes().to_vec(), value: 4711_u64.to_ne_bytes().to_vec() };
    bench.kernel.write_entry(&map(old[1]), &entry).unwrap();
    // No program has a name of the old load, but the maps keep their contents.
    let outcome = engine.replace_load(&version(bench, &old, "grown", &["echo", "tango"])).unwrap();
    assert_eq!((outcome.links_switched, outcome.programs_removed), (0, 2));
    let fates: Vec<_> = outcome.maps.iter().map(|map| (map.name.as_str(), map.fate)).collect();
    assert_eq!(fates, [("counts", MapFate::Copied(16)), ("extra", MapFate::New)]);
    let new = ids(&outcome);
    assert_eq!(engine.map_pins(new[0]), engine.map_pins(new[1]));
    let grown = map(new[0]);
    assert_eq!(bench.kernel.map_of(&grown).unwrap().max_entries, 64);
    assert!(bench.kernel.map_entries(&grown, 64).unwrap().contains(&entry));
}

fn programs_that_share_the_maps_of_a_load_keep_them<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let old = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    let sharing = LoadRequest { map_owner: Some(old[0]), ..bench.request("programs", &["charlie"]) };
    let sharer = engine.loads(&sharing)[0];
    engine.attached(old[0], bench.xdp(1));
    engine.attached(sharer, bench.xdp(2));
    let counts = engine.map_pins(sharer)["counts"];
    let look = || (all_stays(&engine), pins(&*bench.kernel, Path::new("")), engine.ids());
    let before = look();
    let both = ["alpha", "bravo"];
    let fresh = ReplaceLoadRequest { maps: MapPolicy::Fresh, ..version(bench, &old, "second", &both) };
    for (request, says) in [
        (fresh, "map \"counts\" would not go on"),
        (version(bench, &old, "second", &["bravo"]), "the new version has no program \"alpha\""),
        (version(bench, &old, "sharing", &["host"]), "would not go on"),
    ] {
        let error = engine.replace_load(&request).unwrap_err();
        assert_eq!(error.kind(), Reason::Precondition, "{error}");
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(&format!("program {sharer} (\"charlie\")")), "{text}");
        assert_eq!(look(), before, "{error}");
    }
    let grown = engine.replace_load(&version(bench, &old, "grown", &both)).unwrap_err();
    assert_eq!(grown.kind(), Reason::Conflict, "{grown}");
    assert_eq!(look(), before);
    let new = ids(&engine.replace_load(&version(bench, &old, "second", &both)).unwrap());
    assert_eq!((engine.map_pins(new[0])["counts"], engine.map_pins(sharer)["counts"]), (counts, counts));
    // The sharing program's map owner stays whether named or not.
    for owner in [None, Some(new[0])] {
        let id = engine.ids().into_iter().find(|id| !new.contains(id)).unwrap();
        let mut request = version(bench, &[id], "programs", &["charlie"]);
        request.load.map_owner = owner;
        let outcome = engine.replace_load(&request).unwrap();
        assert_eq!(engine.map_pins(outcome.programs[0].id)["counts"], counts);
        request.programs = ids(&outcome);
        request.maps = MapPolicy::Fresh;
        assert_eq!(engine.replace_load(&request).unwrap_err().kind(), Reason::Invalid);
    }
    for program in engine.ids() {
        engine.unload(program).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

crate::on_both_kernels!(
    enlarged_map_is_copied_once_for_all_programs_of_the_load,
    new_version_of_a_load_takes_all_places_with_other_programs,
    programs_that_share_the_maps_of_a_load_keep_them,
    impossible_replacement_of_a_load_changes_nothing,
);

#[test]
fn a_version_that_the_verifier_refuses_changes_nothing() {
    let bench = crate::linux::bench("a_version_that_the_verifier_refuses_changes_nothing");
    let engine = bench.engine();
    let tame = engine.loads(&bench.request("refused", &["tame"]));
    engine.attached(tame[0], bench.xdp(1));
    let look = || (all_stays(&engine), pins(&*bench.kernel, Path::new("")), engine.ids());
    let before = look();
    let error = engine.replace_load(&version(&bench, &tame, "refused", &["tame", "wild"])).unwrap_err();
    assert_eq!(error.kind(), Reason::KernelRefused, "{error}");
    assert!(error.verifier_log().is_some_and(|log| !log.is_empty()), "{error}");
    assert_eq!(look(), before);
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), Vec::<String>::new());
}

#[test]
fn counters_of_links_that_go_on_count_on() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let old = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    engine.attached(old[0], bench.xdp(1));
    let second = engine.attached(old[1], bench.xdp(2));
    crate::crashes::count(&bench);
    let runs = || -> Vec<_> {
        let view = engine.show_chain(&bench.left(), XDP).unwrap();
        view.members.iter().map(|member| (member.link.id, member.counters.as_ref().unwrap().runs)).collect()
    };
    let before = runs();
    assert!(before[0].1 > 0);
    engine.replace_load(&version(&bench, &old, "second", &["alpha", "bravo"])).unwrap();
    assert_eq!(runs(), before);
    assert_eq!(before[1].0, second);
}

#[test]
fn a_replaced_load_comes_back_as_one_after_a_reboot() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let old = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    engine.attached(old[0], bench.xdp(1));
    engine.attached(old[1], bench.xdp(2));
    engine.replace_load(&version(&bench, &old, "second", &["alpha", "bravo", "echo"])).unwrap();
    let links: Vec<_> = engine.all_links().iter().map(|link| link.record.id).collect();
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    let before = all_stays(&engine);
    assert_eq!(engine.all_links().iter().map(|link| link.record.id).collect::<Vec<_>>(), links);
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo"]);
    let new = engine.ids();
    let [first, second, third] = new[..] else { panic!("{new:?}") };
    let maps = engine.map_pins(first);
    assert_eq!((engine.map_pins(second), engine.map_pins(third)), (maps.clone(), maps));
    let again = engine.replace_load(&version(&bench, &new, "programs", &["alpha", "bravo"])).unwrap();
    assert_eq!((again.links_switched, again.programs_removed), (2, 1));
    assert_eq!(all_stays(&engine), before);
}

#[test]
fn an_adopted_program_is_of_no_load() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let theirs = crate::kernel_rules::program(&*bench.kernel, bpfman_model::ProgramType::Xdp, 2, None);
    let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
    let target = LinkTarget::Xdp {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: key.ifindex,
        mode: XdpMode::Generic,
    };
    let link = bench.kernel.attach(&theirs, &target).unwrap();
    let adopted = engine
        .adopt(&bpfmand_engine::AdoptRequest {
            what: bpfmand_engine::AdoptWhat::Link(bench.kernel.link_of(&link).unwrap().id),
            interface: Some(bench.left()),
            priority: 5,
            proceed_on: None,
            order: OrderIntent::default(),
            metadata: BTreeMap::new(),
            caller_uid: 0,
            owner: Default::default(),
        })
        .unwrap();
    let request = version(&bench, &[adopted.program.id], "second", &["alpha"]);
    let error: EngineError = engine.replace_load(&request).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(error.to_string().contains("adopted"), "{error}");
    assert_eq!(engine.all_links().len(), 1);
}

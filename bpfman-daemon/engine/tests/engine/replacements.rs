//! Replacement of a program in all its places, with the old version's maps, and rollback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bpfman_model::{
    BytecodeSource, Direction, HookKind, Interface, LoadRequest, LoadValues, MapId, ProgramId, Reason,
    Selector,
};
use bpfmand_engine::{
    Engine, EngineOptions, FetchedImage, ImageAsk, ImageFailure, Images, MapFate, MapPolicy, ProgramRecord,
    ReplaceRequest, Revocation,
};
use bpfmand_kernel::{Kernel, MapEntry};

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use crate::intents::intent;
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

pub fn replacement<K: Kernel>(bench: &Bench<K>, program: ProgramId, object: &'static str) -> ReplaceRequest {
    ReplaceRequest {
        program,
        source: BytecodeSource::File(bench.file(object)),
        name: None,
        values: LoadValues::default(),
        global_data: BTreeMap::new(),
        maps: MapPolicy::Keep,
        keep_old: true,
        caller_uid: 0,
        limits: Default::default(),
        tenant: None,
        places: None,
    }
}

fn places<K: Testable>(engine: &Engine<K>) -> Vec<String> {
    let text = |link: bpfmand_engine::LinkDetails| {
        assert_eq!(link.standing, Standing::Running);
        format!(
            "{} {:?} {:?} {:?} {:?}",
            link.record.id, link.record.point, link.position, link.pin, link.record.metadata
        )
    };
    engine.all_links().into_iter().map(text).collect()
}

pub fn until_gone<K: Kernel>(kernel: &K, program: ProgramId) {
    let deadline = Instant::now() + crate::bench::TEST_TIMEOUT;
    while kernel.program(program).unwrap().is_some() {
        assert!(Instant::now() < deadline, "program {program} is still there");
        std::thread::yield_now();
    }
}

fn entry_of<K: Testable>(engine: &Engine<K>, interface: &Interface) -> ProgramId {
    engine.chain(interface, XDP).unwrap().entry.unwrap().id
}

fn a_new_version_takes_every_place_of_the_old_one<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let has_tcx = bench.kernel.features().tcx;
    let names = ["alpha", "bravo", "tango", "xray", "trace"];
    let [alpha, bravo, tango, xray, trace] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!()
    };
    let right = bench.interface("right");
    let at_right = |priority| match bench.xdp(priority) {
        bpfman_model::AttachPoint::Xdp { priority, proceed_on, .. } => {
            bpfman_model::AttachPoint::Xdp { interface: right.clone(), priority, proceed_on }
        }
        other => other,
    };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, at_right(2));
    crate::intents::attach(&engine, alpha, at_right(1), intent("front", &["bravo"], &[])).unwrap();
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    if has_tcx {
        engine.attached(xray, bench.tcx(1));
    }
    for point in ["sched_process_exec", "sched_process_exit"] {
        engine.attached(trace, tracepoint(point));
    }
    let before = places(&engine);
    let kernel_links = |engine: &Engine<K>| -> Vec<_> {
        engine.all_links().into_iter().filter(|l| l.hook.is_some()).map(|l| l.kernel_link).collect()
    };
    let (kept, maps) = (kernel_links(&engine), engine.map_pins(alpha));
    let joined = entry_of(&engine, &right);
    let mut new = Vec::new();
    for (program, switched) in [(alpha, 2), (tango, 1), (xray, usize::from(has_tcx)), (trace, 2)] {
        let uid = engine.describe_program(program).unwrap().managed.unwrap().record.uid;
        let outcome = engine.replace_program(&replacement(bench, program, "second")).unwrap();
        assert_eq!((outcome.previous, outcome.links_switched), (Some(program), switched));
        let fates: Vec<_> = outcome.maps.iter().map(|map| (map.name.as_str(), map.fate)).collect();
        assert_eq!(fates, [("counts", MapFate::Kept), ("extra", MapFate::New)]);
        let managed = outcome.programs[0].managed.clone().unwrap();
        assert_eq!((managed.record.uid, managed.standing.name()), (uid, "ok"));
        assert_eq!(managed.previous.unwrap().id, Some(program));
        assert_ne!(outcome.programs[0].id, program);
        assert_eq!(engine.describe_program(program).unwrap().managed, None, "the old id is nobody's");
        assert!(bench.kernel.program(program).unwrap().is_some(), "the old version stays loaded");
        new.push(outcome.programs[0].id);
    }
    assert_eq!(places(&engine), before);
    assert_eq!(kernel_links(&engine), kept, "no hook was left and entered again");
    assert_eq!(entry_of(&engine, &bench.left()), new[0]);
    assert_ne!(entry_of(&engine, &right), joined);
    assert_eq!(engine.map_pins(new[0])["counts"], maps["counts"]);
    assert!(engine.map_pins(new[0]).contains_key("extra"));
    assert_eq!((bench.kernel.verdict(alpha), bench.kernel.verdict(new[0])), (2, 1));
    for link in engine.all_links().iter().filter(|link| link.hook.is_none()) {
        assert_eq!(link.running, Some(new[3]));
    }
    drop(engine);
    let (engine, report) = bench.start();
    assert_eq!((report.reloaded, report.reattached, report.problems.len()), (0, 0, 0), "{report:?}");
    assert_eq!(places(&engine), before);
    for program in &mut new {
        let back = engine.rollback_program(*program, None).unwrap();
        assert_eq!(back.previous, Some(*program));
        *program = back.programs[0].id;
    }
    assert_eq!(new, [alpha, tango, xray, trace]);
    assert_eq!(places(&engine), before);
    assert_eq!(entry_of(&engine, &bench.left()), alpha);
    let second = engine.rollback_program(alpha, None).unwrap().programs[0].id;
    assert_eq!(bench.kernel.verdict(second), 1);
    let last = ReplaceRequest { keep_old: false, ..replacement(bench, second, "programs") };
    let last = engine.replace_program(&last).unwrap();
    assert_eq!(last.previous, None);
    for gone in [alpha, second] {
        until_gone(&*bench.kernel, gone);
    }
    assert_eq!(engine.rollback_program(last.programs[0].id, None).unwrap_err().kind(), Reason::Precondition);
    assert_eq!(engine.map_pins(last.programs[0].id)["counts"], maps["counts"]);
    for program in [last.programs[0].id, bravo, tango, xray, trace] {
        engine.unload(program).unwrap();
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

fn a_map_that_cannot_go_on_is_named_and_nothing_changes<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    let before = (places(&engine), pins(&*bench.kernel, Path::new("")), engine.ids());
    let refused = |request: ReplaceRequest| {
        let error = engine.replace_program(&request).unwrap_err();
        let after = (places(&engine), pins(&*bench.kernel, Path::new("")), engine.ids());
        assert_eq!(after, before, "{error}");
        (error.kind(), error.to_string())
    };
    let (kind, message) = refused(replacement(bench, alpha, "reshaped"));
    assert_eq!(kind, Reason::Conflict);
    assert!(message.contains("map \"counts\"") && message.contains("packets"), "{message}");
    let (kind, message) = refused(replacement(bench, alpha, "grown"));
    assert_eq!(kind, Reason::Conflict);
    assert!(
        message.contains(&format!("entries 16 instead of 64, and program {bravo} uses it too")),
        "{message}"
    );
    let only = ReplaceRequest { maps: MapPolicy::ReuseOnly, ..replacement(bench, alpha, "grown") };
    assert!(refused(only).1.contains("entries 16 instead of 64"));
    let other = ReplaceRequest { name: Some("tango".to_owned()), ..replacement(bench, alpha, "second") };
    assert_eq!(refused(other).0, Reason::Invalid);
    let unknown = ReplaceRequest { name: Some("nobody".to_owned()), ..replacement(bench, alpha, "second") };
    assert_eq!(refused(unknown).0, Reason::Invalid);
    assert_eq!(refused(replacement(bench, ProgramId(u32::MAX), "second")).0, Reason::NotFound);
    let nothing = BytecodeSource::File(bench.folder.path().join("nothing.o"));
    assert_eq!(
        refused(ReplaceRequest { source: nothing, ..replacement(bench, alpha, "second") }).0,
        Reason::NotFound
    );
    assert_eq!(engine.rollback_program(alpha, None).unwrap_err().kind(), Reason::Precondition);
    let fresh = ReplaceRequest { maps: MapPolicy::Fresh, ..replacement(bench, alpha, "reshaped") };
    let fresh = engine.replace_program(&fresh).unwrap();
    assert!(fresh.maps.iter().all(|map| map.fate == MapFate::New), "{:?}", fresh.maps);
    assert_ne!(engine.map_pins(fresh.programs[0].id)["counts"], engine.map_pins(bravo)["counts"]);
    assert_eq!(places(&engine), before.0);
}

fn a_map_with_more_room_has_the_entries_of_the_old_one<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let map = |program| bench.kernel.open_map(MapId(engine.map_pins(program)["counts"])).unwrap();
    let entry = MapEntry { key: 3_u32.to_ne_bytes().to_vec(), value: 4711_u64.to_ne_bytes().to_vec() };
    bench.kernel.write_entry(&map(alpha), &entry).unwrap();
    let outcome = engine.replace_program(&replacement(bench, alpha, "grown")).unwrap();
    let fates: Vec<_> = outcome.maps.iter().map(|map| (map.name.as_str(), map.fate)).collect();
    assert_eq!(fates, [("counts", MapFate::Copied(16)), ("extra", MapFate::New)]);
    let grown = map(outcome.programs[0].id);
    assert_eq!(bench.kernel.map_of(&grown).unwrap().max_entries, 64);
    assert!(bench.kernel.map_entries(&grown, 64).unwrap().contains(&entry));
    assert_eq!(entry_of(&engine, &bench.left()), outcome.programs[0].id);
    let small = engine.replace_program(&replacement(bench, outcome.programs[0].id, "programs")).unwrap_err();
    assert!(small.to_string().contains("counts"), "{small}");
    assert_eq!(entry_of(&engine, &bench.left()), outcome.programs[0].id);
    engine.rollback_program(outcome.programs[0].id, None).unwrap();
    assert_eq!(engine.map_pins(alpha).len(), 2);
}

crate::on_both_kernels!(
    a_map_with_more_room_has_the_entries_of_the_old_one,
    a_new_version_takes_every_place_of_the_old_one,
    a_map_that_cannot_go_on_is_named_and_nothing_changes,
);

#[test]
fn after_a_reboot_the_version_before_is_loaded_again() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    engine.replace_program(&replacement(&bench, alpha, "second")).unwrap();
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    let before = places(&engine);
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo"]);
    let id = engine.all_links()[0].program.id;
    assert_eq!(bench.kernel.verdict(id), 1);
    assert_eq!(engine.describe_program(id).unwrap().managed.unwrap().previous.unwrap().id, None);
    let back = engine.rollback_program(id, None).unwrap();
    assert_eq!(bench.kernel.verdict(back.programs[0].id), 2);
    assert_eq!(places(&engine), before);
    engine.unload(back.programs[0].id).unwrap();
    engine.unload(engine.all_links()[0].program.id).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap().count(), 0);
}

#[test]
fn programs_of_a_load_share_maps_after_replacement_and_reboot() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let names = ["alpha", "bravo", "tango"];
    let [alpha, bravo, tango] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let other = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let sharer = LoadRequest { map_owner: Some(bravo), ..bench.request("programs", &["charlie"]) };
    let sharer = engine.loads(&sharer)[0];
    engine.attached(sharer, bench.xdp(1));
    let new = [alpha, tango].map(|program| {
        let outcome = engine.replace_program(&replacement(&bench, program, "second")).unwrap();
        outcome.programs[0].managed.as_ref().unwrap().record.uid
    });
    let of = |engine: &Engine<_>, uid| {
        let uid_of = |id: &ProgramId| engine.describe_program(*id).unwrap().managed.unwrap().record.uid;
        let id = engine.ids().into_iter().find(|id| uid_of(id) == uid).unwrap();
        engine.map_pins(id)["counts"]
    };
    let uids =
        [bravo, sharer, other].map(|id| engine.describe_program(id).unwrap().managed.unwrap().record.uid);
    let check = |engine: &Engine<_>| {
        let shared = of(engine, uids[0]);
        assert_eq!([new[0], new[1], uids[1]].map(|uid| of(engine, uid)), [shared; 3]);
        assert_ne!(of(engine, uids[2]), shared);
    };
    check(&engine);
    let error = ReplaceRequest { name: Some("alpha".to_owned()), ..replacement(&bench, sharer, "second") };
    let error = engine.replace_program(&error).unwrap_err();
    assert!(error.to_string().contains("extra"), "{error}");
    let fresh = ReplaceRequest { maps: MapPolicy::Fresh, ..replacement(&bench, sharer, "programs") };
    assert_eq!(engine.replace_program(&fresh).unwrap_err().kind(), Reason::Invalid);
    engine.replace_program(&replacement(&bench, sharer, "programs")).unwrap();
    check(&engine);
    let mut engine = Some(engine);
    for _ in 0..2 {
        drop(engine.take());
        bench.kernel.reboot();
        let again = bench.engine();
        check(&again);
        engine = Some(again);
    }
}

#[derive(Default)]
struct Revoking {
    revoked: Mutex<Option<String>>,
    detach: AtomicBool,
    refused: Mutex<Option<String>>,
}

impl Images for Revoking {
    fn revocation(&self, program: &ProgramRecord) -> Result<Option<Revocation>, ImageFailure> {
        let revoked = self.revoked.lock().unwrap();
        let why = "the policy says so".to_owned();
        let detach = self.detach.load(Ordering::Relaxed);
        Ok((revoked.as_deref() == Some(program.bytecode_sha256())).then_some(Revocation { why, detach }))
    }

    fn refusal_now(&self, program: &ProgramRecord) -> Result<Option<String>, ImageFailure> {
        let revoked =
            self.revocation(program)?.map(|revocation| format!("it was revoked: {}", revocation.why));
        let refused = self.refused.lock().unwrap();
        Ok(revoked.or_else(|| {
            (refused.as_deref() == Some(program.bytecode_sha256())).then(|| "a newer one ran".to_owned())
        }))
    }

    fn fetch(
        &self,
        _: ImageAsk<'_>,
        _: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<FetchedImage, ImageFailure> {
        panic!("nobody asked for an image")
    }
}

#[test]
fn a_version_that_was_revoked_does_not_come_back() {
    let bench = crate::simulated::bench();
    let policy = Arc::new(Revoking::default());
    let options = EngineOptions { images: Arc::clone(&policy) as Arc<dyn Images>, ..bench.options() };
    let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
    engine.recover().unwrap();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let sha256 = {
        let all = engine.list(&Selector { managed_only: true, ..Selector::default() }).unwrap();
        all[0].managed.as_ref().unwrap().record.bytecode_sha256().to_owned()
    };
    let new = engine.replace_program(&replacement(&bench, alpha, "grown")).unwrap().programs[0].id;
    *policy.refused.lock().unwrap() = Some(sha256.clone());
    let refused = engine.rollback_program(new, None).unwrap_err();
    assert_eq!(refused.kind(), Reason::Signature, "{refused}");
    assert!(refused.to_string().contains("may not come back: a newer one ran"), "{refused}");
    *policy.refused.lock().unwrap() = None;
    *policy.revoked.lock().unwrap() = Some(sha256);
    let refused = engine.rollback_program(new, None).unwrap_err();
    assert_eq!(refused.kind(), Reason::Signature, "{refused}");
    assert!(refused.to_string().contains("was revoked: the policy says so"), "{refused}");
    *policy.revoked.lock().unwrap() = None;
    assert_eq!(engine.rollback_program(new, None).unwrap().programs[0].id, alpha);
}

#[test]
fn a_revoked_program_is_not_loaded_again_after_a_reboot() {
    let bench = crate::simulated::bench();
    let policy = Arc::new(Revoking::default());
    let open = || {
        let options = EngineOptions { images: Arc::clone(&policy) as Arc<dyn Images>, ..bench.options() };
        let engine = Engine::open(Arc::clone(&bench.kernel), options).unwrap();
        let report = engine.recover().unwrap();
        (engine, report)
    };
    let (engine, _) = open();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    engine.attached(alpha, bench.xdp(1));
    let all = engine.list(&Selector { managed_only: true, ..Selector::default() }).unwrap();
    *policy.revoked.lock().unwrap() =
        Some(all[0].managed.as_ref().unwrap().record.bytecode_sha256().to_owned());
    drop(engine);
    // A revoked program that continues to run is restored; the policy check reports it.
    bench.kernel.reboot();
    let (engine, report) = open();
    assert_eq!((report.reloaded, report.reattached > 0), (1, true), "{report:?}");
    policy.detach.store(true, Ordering::Relaxed);
    let id = engine.ids()[0];
    let error = engine.try_attach(id, bench.xdp(2)).unwrap_err();
    assert_eq!(error.kind(), Reason::Signature, "{error}");
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = open();
    assert_eq!((report.reloaded, report.reattached), (0, 0), "{report:?}");
    assert!(report.problems.iter().any(|problem| problem.contains("was revoked: the policy says so")));
    drop(engine);
    policy.detach.store(false, Ordering::Relaxed);
    bench.kernel.reboot();
    let (_engine, report) = open();
    assert_eq!((report.reloaded, report.reattached > 0), (1, true), "{report:?}");
}

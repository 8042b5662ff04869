//! Lost pins of objects that others keep alive: the object still runs, and does not count as gone.

use std::path::{Path, PathBuf};

use bpfman_model::{AttachPoint, Direction, HookKind, LinkId, MapId, MapSpec, ProgramId, map_type};
use bpfmand_engine::{Engine, Standing};
use bpfmand_kernel::{Kernel, KernelObjects as _, KernelPins as _};

use crate::bench::{Ask as _, Bench, Testable, edit_records, pins};
use crate::on_both_kernels;
use crate::points_seen::wait_until;
use crate::simulated::bench;

fn trace_point() -> AttachPoint {
    AttachPoint::Tracepoint { category: "syscalls".to_owned(), name: "sys_enter_getppid".to_owned() }
}

fn lose_pin<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>, link: LinkId) -> K::Handle {
    let pin: PathBuf = engine.describe_link(link).unwrap().pin.unwrap();
    let held = bench.kernel.open_pin(&pin).unwrap().unwrap();
    bench.kernel.unpin(&pin).unwrap();
    held
}

fn attached<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> (Vec<ProgramId>, Vec<LinkId>) {
    let programs = engine.loads(&bench.request("programs", &["alpha", "xray"]));
    let [alpha, xray] = programs[..] else { panic!("two programs") };
    let mut links = vec![engine.attached(alpha, bench.xdp(1))];
    if bench.kernel.features().tcx {
        links.push(engine.attached(xray, bench.tcx(1)));
    }
    (programs, links)
}

fn detached_links_run_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let (_, links) = attached(bench, &engine);
    let held: Vec<_> = links.iter().map(|link| lose_pin(bench, &engine, *link)).collect();
    for link in links {
        engine.detach(link).unwrap();
    }
    assert_runs_nothing(bench, &held);
}

fn links_of_a_program_that_is_unloaded_run_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let (programs, links) = attached(bench, &engine);
    let held: Vec<_> = links.iter().map(|link| lose_pin(bench, &engine, *link)).collect();
    for program in programs {
        engine.unload(program).unwrap();
    }
    assert_runs_nothing(bench, &held);
}

fn a_start_pins_again_what_still_runs<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let (_, mut links) = attached(bench, &engine);
    let trace = engine.loads(&bench.request("programs", &["trace"]))[0];
    links.push(engine.attached(trace, trace_point()));
    let before: Vec<_> = links.iter().map(|link| engine.describe_link(*link).unwrap()).collect();
    let _held: Vec<_> = links.iter().map(|link| lose_pin(bench, &engine, *link)).collect();
    drop(engine);
    let engine = bench.engine();
    let after: Vec<_> = links.iter().map(|link| engine.describe_link(*link).unwrap()).collect();
    assert_eq!(after, before, "the same links, pinned as they were: nothing runs twice");
}

#[test]
fn start_without_pins_walks_over_all_links_once() {
    // Records of earlier versions have no ids of links.
    let walks = |links: usize, is_earlier: bool| {
        let bench = bench();
        let engine = bench.engine();
        let load = || engine.loads(&bench.request("programs", &["trace"]))[0];
        let links: Vec<_> = (0..links).map(|_| engine.attached(load(), trace_point())).collect();
        links.iter().for_each(|link| drop(lose_pin(&bench, &engine, *link)));
        drop(engine);
        if is_earlier {
            edit_records(&bench, "links", |link| {
                drop(link.as_object_mut().unwrap().remove("kernel_link").unwrap())
            });
        }
        bench.kernel.note_calls();
        let engine = bench.engine();
        let calls = bench.kernel.calls();
        for link in links {
            assert!(engine.describe_link(link).unwrap().standing.is_running(), "attached again");
        }
        calls.into_iter().filter(|call| *call == "link_ids").count()
    };
    assert_ne!(walks(1, true), 0);
    assert_eq!(walks(12, true), walks(1, true));
    assert_eq!(walks(12, false), 0);
}

fn pin_of_a_program_comes_back<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let link = engine.attached(alpha, bench.xdp(1));
    let pin = PathBuf::from(format!("prog_{alpha}"));
    bench.kernel.unpin(&pin).unwrap();
    let standing = engine.describe_program(alpha).unwrap().managed.unwrap().standing;
    assert!(standing.cause().contains("its pin was removed"), "{standing}");
    let report = engine.check_all();
    assert!(report.lost.is_empty() && report.mended.len() == 1, "{report:?}");
    assert!(format!("{report:?}").contains("its pin was removed"), "{report:?}");
    assert!(bench.kernel.open_pin(&pin).unwrap().is_some());
    engine.detach(link).unwrap();
    assert!(bench.kernel.program(alpha).unwrap().is_some());
    assert!(engine.check_all().mended.is_empty());
    engine.unload(alpha).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}

/// State after a bpffs was unmounted, while the link still exists.
fn a_start_makes_a_chain_whole_whose_link_still_runs<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let links = [engine.attached(alpha, bench.xdp(1)), engine.attached(bravo, bench.xdp(2))];
    let _held = lose_pin(bench, &engine, links[0]);
    drop(engine);
    for pin in pins(&*bench.kernel, Path::new("chains")) {
        bench.kernel.unpin(Path::new(&pin)).unwrap();
    }
    let engine = bench.engine();
    for link in links {
        let standing = engine.describe_link(link).unwrap().standing;
        assert!(standing.is_running(), "{standing}");
    }
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
}

fn pins_of_maps_come_back<K: Testable>(bench: &Bench<K>) {
    let maps = |engine: &Engine<K>| {
        let program = engine.describe_program(engine.ids()[0]).unwrap();
        let maps = engine.maps_of(&program).unwrap();
        let pins = maps.iter().filter_map(|map| map.pin.clone()).map(|pin| (pin, true));
        let mut found: Vec<_> = pins.collect();
        for (pin, is_there) in &mut found {
            *is_there = bench.kernel.open_pin(pin).unwrap().is_some();
        }
        (program.managed.unwrap().standing, found)
    };
    let engine = bench.engine();
    engine.loads(&bench.request("programs", &["alpha"]));
    let (standing, pinned) = maps(&engine);
    assert!(standing.is_running() && !pinned.is_empty() && pinned.iter().all(|(_, is_there)| *is_there));
    let lose = || {
        for (pin, _) in &pinned {
            bench.kernel.unpin(pin).unwrap();
        }
        bench.kernel.remove_folder(pinned[0].0.parent().unwrap()).unwrap();
    };
    lose();
    let (standing, _) = maps(&engine);
    assert!(standing.cause().contains("pins of its maps were removed"), "{standing}");
    let report = engine.check_all();
    assert_eq!((report.mended.len(), report.lost.len()), (1, 0), "{report:?}");
    assert_eq!(maps(&engine), (Standing::Running, pinned.clone()));
    lose();
    drop(engine);
    let engine = bench.engine();
    assert_eq!(maps(&engine), (Standing::Running, pinned.clone()));
}

fn foreign_maps_at_own_pins_are_reported_and_removed<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let before = engine.map_pins(alpha);
    let spec = MapSpec::sized("theirs", map_type::ARRAY, 4, 8, 1);
    let take_place = || {
        let theirs = bench.kernel.create_map(&spec, None).unwrap();
        let place = Path::new("maps").join(alpha.to_string()).join("counts");
        bench.kernel.unpin(&place).unwrap();
        bench.kernel.pin(&theirs, &place).unwrap();
        place
    };
    let pinned = |place: &Path| {
        let pin = bench.kernel.open_pin(place).unwrap().unwrap();
        bench.kernel.map_of(&pin).unwrap().id.0
    };
    let standing = |engine: &Engine<K>| engine.describe_program(alpha).unwrap().managed.unwrap().standing;
    let place = take_place();
    assert_ne!(pinned(&place), before["counts"]);
    assert!(
        standing(&engine).cause().contains("were replaced by pins of other objects"),
        "{}",
        standing(&engine)
    );
    let report = format!("{:?}", engine.check_all());
    assert!(report.contains("replaced by pins of other objects"), "{report}");
    assert_eq!((pinned(&place), standing(&engine)), (before["counts"], Standing::Running));
    take_place();
    drop(engine);
    let engine = bench.engine();
    assert_eq!((pinned(&place), standing(&engine)), (before["counts"], Standing::Running));
}

fn other_objects_at_a_program_pin_are_removed<K: Testable>(bench: &Bench<K>) {
    let mut engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    let place = PathBuf::from(format!("prog_{alpha}"));
    let other = bench.kernel.open_program(bravo).unwrap().unwrap();
    let map = bench.kernel.create_map(&MapSpec::sized("theirs", map_type::ARRAY, 4, 8, 1), None).unwrap();
    for theirs in [&other, &map] {
        for restarts in [false, true] {
            bench.kernel.unpin(&place).unwrap();
            bench.kernel.pin(theirs, &place).unwrap();
            let standing =
                |engine: &Engine<K>| engine.describe_program(alpha).unwrap().managed.unwrap().standing;
            assert!(standing(&engine).cause().contains("its pin was replaced by another object"));
            if restarts {
                drop(engine);
                engine = bench.engine();
            } else {
                let report = format!("{:?}", engine.check_all().mended);
                assert!(report.contains("its pin was replaced by another object"), "{report}");
            }
            let pin = bench.kernel.open_pin(&place).unwrap().unwrap();
            assert_eq!(bench.kernel.program_of(&pin).unwrap().id, alpha);
            assert_eq!(standing(&engine), Standing::Running);
            assert!(engine.describe_link(link).unwrap().standing.is_running());
        }
    }
}

fn folders_at_pins_are_reported_and_removed_if_empty<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let enters = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]))[0];
    engine.attached(enters, bench.xdp(1));
    let jumps = Path::new("maps").join(enters.to_string()).join("jumps");
    let own = PathBuf::from(format!("prog_{enters}"));
    let standing = || engine.describe_program(enters).unwrap().managed.unwrap().standing;
    for (place, cause) in [
        (jumps, "pins of its maps were replaced by pins of other objects"),
        (own, "its pin was replaced by another object"),
    ] {
        bench.kernel.unpin(&place).unwrap();
        let inner = place.join("inner");
        bench.kernel.make_folder(&inner).unwrap();
        assert!(standing().cause().contains(cause), "{}", standing());
        let listed = engine.list(&Default::default()).unwrap();
        assert!(listed.iter().any(|program| program.id == enters));
        let report = engine.check_all();
        assert_eq!((report.mended.len(), report.lost.len()), (0, 1), "{report:?}");
        assert!(format!("{report:?}").contains("remove folder"), "{report:?}");
        bench.kernel.remove_folder(&inner).unwrap();
        let report = engine.check_all();
        assert_eq!((report.mended.len(), report.lost.len()), (1, 0), "{report:?}");
        assert_eq!(standing(), Standing::Running);
        assert!(bench.kernel.open_pin(&place).unwrap().is_some());
    }
}

fn map_that_no_program_names_outlives_its_pin<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [loaded] = &engine.load(&bench.request("kept_map", &["pass"])).unwrap().programs[..] else {
        panic!()
    };
    let program = loaded.id;
    assert_eq!(loaded.facts, engine.describe_program(program).unwrap().facts);
    let before = engine.map_pins(program);
    let facts = bench.kernel.program(program).unwrap().unwrap();
    assert_eq!(facts.map_ids, [MapId(before["kept"])], "the program holds it");
    let link = engine.attached(program, bench.xdp(1));
    let folder = Path::new("maps").join(program.to_string());
    bench.kernel.unpin(&folder.join("kept")).unwrap();
    let report = engine.check_all();
    assert_eq!((report.mended.len(), report.lost.len()), (1, 0), "{report:?}");
    let standing = engine.describe_program(program).unwrap().managed.unwrap().standing;
    assert_eq!((standing, engine.map_pins(program)), (Standing::Running, before));
    let verified = engine.verify_chain(&bench.left(), HookKind::Xdp, None).unwrap();
    assert!(verified.matches(), "{verified:?}");
    engine.detach(link).unwrap();
    engine.unload(program).unwrap();
    let is_gone = || bench.kernel.map(facts.map_ids[0]).unwrap().is_none();
    assert!(wait_until(is_gone), "it ends with the program");
}

#[test]
fn linux_emptied_program_array_is_filled_again() {
    let bench = crate::linux::bench("emptied");
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    let array = engine.map_pins(programs[0])["jumps"];
    let slot = || {
        let map = bench.kernel.open_map(MapId(array)).unwrap();
        bench.kernel.has_slot(&map, 2).unwrap()
    };
    assert!(slot());
    let lose_pins = || {
        for program in &programs {
            let folder = Path::new("maps").join(program.to_string());
            bench.kernel.unpin(&folder.join("jumps")).unwrap();
        }
        assert!(wait_until(|| !slot()), "the kernel empties the array");
    };
    lose_pins();
    engine.check_all();
    assert!(slot());
    lose_pins();
    drop(engine);
    let _engine = bench.engine();
    assert!(slot());
}

#[test]
fn array_that_the_kernel_empties_again_is_no_success() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    let map = bench.kernel.open_map(MapId(engine.map_pins(programs[0])["jumps"])).unwrap();
    for program in &programs {
        let folder = Path::new("maps").join(program.to_string());
        bench.kernel.unpin(&folder.join("jumps")).unwrap();
    }
    bench.kernel.empty_arrays(true);
    bench.kernel.wait_for_readers().unwrap();
    let report = engine.check_all();
    assert!(report.mended.is_empty(), "{report:?}");
    let standing = engine.describe_program(programs[0]).unwrap().managed.unwrap().standing;
    assert!(matches!(standing, Standing::Torn { .. }), "{standing:?}");
    bench.kernel.empty_arrays(false);
    let report = engine.check_all();
    assert!(!report.mended.is_empty(), "{report:?}");
    assert!(bench.kernel.has_slot(&map, 2).unwrap());
}

/// Another process cleared the slot, not the kernel: a repair of the pin does not fill it again.
#[test]
fn linux_slots_that_were_deleted_stay_empty() {
    let bench = crate::linux::bench("deleted_slots");
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    let map = bench.kernel.open_map(MapId(engine.map_pins(programs[0])["jumps"])).unwrap();
    bench.kernel.clear_slot(&map, 2).unwrap();
    let pin = Path::new("maps").join(programs[0].to_string()).join("jumps");
    bench.kernel.unpin(&pin).unwrap();
    let report = engine.check_all();
    assert_eq!((report.mended.len(), report.lost.len()), (1, 0), "{report:?}");
    assert!(bench.kernel.open_pin(&pin).unwrap().is_some());
    assert!(!bench.kernel.has_slot(&map, 2).unwrap());
}

/// The kernel attaches a program once per tcx hook: one record has the link, and the other waits.
fn a_link_is_not_taken_for_that_of_another_record<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let engine = bench.engine();
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let (direction, interface) = (Direction::Ingress, bench.interface("pod1"));
    let point = || AttachPoint::Tcx { interface: interface.clone(), direction, priority: 1 };
    bench.kernel.add_interface(&bench.netns, "pod1");
    let older = engine.attached(xray, point());
    bench.kernel.remove_interface(&bench.netns, "pod1");
    bench.kernel.add_interface(&bench.netns, "pod1");
    let younger = engine.attached(xray, point());
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    engine.check_all();
    // Without a holder the link ends, and its position is free for the older record.
    drop(lose_pin(bench, &engine, younger));
    drop(engine);
    let (engine, report) = bench.start();
    assert!(
        matches!(&report.problems[..], [one] if one.starts_with(&format!("link {younger}: "))),
        "{report:?}"
    );
    let running = |link| engine.describe_link(link).unwrap().standing.is_running();
    assert_eq!([older, younger].map(running), [true, false]);
    engine.detach(older).unwrap();
    engine.detach(younger).unwrap();
    let key = bench.kernel.find_hook(&interface, HookKind::Tcx(direction)).unwrap();
    assert_eq!(bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap().entries, []);
    assert_eq!(pins(&*bench.kernel, Path::new("links")), Vec::<String>::new());
}

fn assert_runs_nothing<K: Testable>(bench: &Bench<K>, held: &[K::Handle]) {
    let key = bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap();
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    assert_eq!(contents.entries, []);
    for link in held {
        let facts = bench.kernel.link_of(link).unwrap();
        assert_eq!(facts.ifindex, None, "{facts:?}");
    }
    assert_eq!(pins(&*bench.kernel, Path::new("links")), Vec::<String>::new());
}

on_both_kernels!(
    detached_links_run_nothing,
    links_of_a_program_that_is_unloaded_run_nothing,
    a_start_pins_again_what_still_runs,
    a_start_makes_a_chain_whole_whose_link_still_runs,
    pin_of_a_program_comes_back,
    pins_of_maps_come_back,
    foreign_maps_at_own_pins_are_reported_and_removed,
    other_objects_at_a_program_pin_are_removed,
    folders_at_pins_are_reported_and_removed_if_empty,
    map_that_no_program_names_outlives_its_pin,
    a_link_is_not_taken_for_that_of_another_record,
);

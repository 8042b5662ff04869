//! Sizes of maps that a load sets apply to the kernel's maps, also after a restart, a reboot and a new version.

use std::collections::BTreeMap;

use bpfman_model::{LoadRequest, LoadValues, MapId, ProgramId, Reason};
use bpfmand_engine::{Engine, MapFate, MapPolicy, ReplaceLoadRequest, ReplaceRequest};
use bpfmand_kernel::{Kernel, MapEntry};

use crate::bench::{Ask as _, Bench, Testable};
use crate::on_both_kernels;
use crate::replacements::replacement;
use crate::values::refused;

fn sizes(sizes: &[(&str, u32)]) -> LoadValues {
    let map_sizes = sizes.iter().map(|(map, entries)| ((*map).to_owned(), *entries)).collect();
    LoadValues { map_sizes, ..LoadValues::default() }
}

fn request<K: Kernel>(bench: &Bench<K>, program: &str, of: &[(&str, u32)]) -> LoadRequest {
    LoadRequest { values: sizes(of), ..bench.request("settings", &[program]) }
}

fn entries<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>, program: ProgramId, map: &str) -> u32 {
    let id = MapId(engine.map_pins(program)[map]);
    bench.kernel.map(id).unwrap().unwrap().max_entries
}

fn recorded<K: Kernel>(engine: &Engine<K>, program: ProgramId) -> BTreeMap<String, u32> {
    engine.describe_program(program).unwrap().managed.unwrap().record.map_sizes.clone()
}

fn a_map_has_the_size_that_is_set_also_after_a_restart<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let plain = engine.loads(&request(bench, "reads", &[]))[0];
    let sized = engine.loads(&request(bench, "reads", &[("flows", 1000), ("events", 9000)]))[0];
    assert_eq!(entries(bench, &engine, plain, "flows"), 8);
    assert_eq!(entries(bench, &engine, sized, "flows"), 1000);
    // Rounded up to a power of two pages, as by libbpf.
    let page = bench.kernel.features().page_size;
    assert_eq!(entries(bench, &engine, sized, "events"), 16_384.max(page));
    drop(engine);
    let engine = bench.engine();
    assert_eq!(entries(bench, &engine, sized, "flows"), 1000);
    assert_eq!(recorded(&engine, sized), sizes(&[("flows", 1000), ("events", 9000)]).map_sizes);
    assert_eq!(recorded(&engine, plain), BTreeMap::new());
}

fn a_map_that_its_own_loader_sizes_loads_with_a_size<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let error = engine.load(&bench.request("unsized", &["counts"])).unwrap_err();
    assert_eq!(error.hint().unwrap().to_string(), "set it: --map-size per_interface=ENTRIES");
    let values = sizes(&[("per_interface", 64)]);
    let program = engine.loads(&LoadRequest { values, ..bench.request("unsized", &["counts"]) })[0];
    assert_eq!(entries(bench, &engine, program, "per_interface"), 64);
}

fn sizes_that_no_map_can_have_are_refused_and_leave_nothing<K: Testable>(bench: &Bench<K>) {
    let invalid = Reason::Invalid;
    for (map, size, kind, says) in [
        ("speed", 4, invalid, "no map named speed; the object has first, second, tables, flows"),
        ("flows", 0, invalid, "map flows: it cannot have 0 entries: give it 1 or more"),
        ("events", 0, invalid, "map events: it cannot have 0 entries"),
        ("events", u32::MAX, invalid, "map events: a ring buffer has at most 2147483648 bytes"),
        (".rodata", 2, invalid, "map .rodata: it holds global variables"),
        (".bss", 1, invalid, "map .bss: it holds global variables"),
        (
            "of_sockets",
            5,
            invalid,
            "map of_sockets: the kernel sizes maps of its type by what they belong to",
        ),
        ("tables", 1, invalid, "map tables: with 1 entries the object fills slot 1"),
        ("flows", u32::MAX, Reason::TooLarge, "map \"flows\" with 4294967295 entries"),
        ("events", 1 << 31, Reason::TooLarge, "2048 MiB are of map \"events\""),
    ] {
        let error = refused(bench, sizes(&[(map, size)]));
        let message = error.to_string();
        assert!(message.contains("settings.o") || kind == Reason::TooLarge, "{message}");
        assert!(message.contains(says), "{map}={size}: {message}");
        assert_eq!(error.kind(), kind, "{message}");
    }
    let long = "x".repeat(25_000);
    assert_eq!(refused(bench, sizes(&[(&long, 1)])).kind(), Reason::TooLarge);
}

fn shared_maps_have_the_size_of_their_owner<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let owner = engine.loads(&request(bench, "reads", &[("flows", 1000)]))[0];
    let mut sharing = request(bench, "shares", &[]);
    sharing.map_owner = Some(owner);
    let sharer = engine.loads(&sharing)[0];
    assert_eq!(engine.map_pins(sharer)["flows"], engine.map_pins(owner)["flows"]);
    assert_eq!(recorded(&engine, sharer)["flows"], 1000);
    sharing.values = sizes(&[("flows", 1000)]);
    let same = engine.loads(&sharing)[0];
    assert_eq!(engine.map_pins(same)["flows"], engine.map_pins(owner)["flows"]);

    sharing.values = sizes(&[("flows", 999)]);
    let (ids, error) = (engine.ids(), engine.load(&sharing).unwrap_err());
    assert_eq!(error.kind(), Reason::Invalid);
    let message = error.to_string();
    let says = "its map \"flows\" has another shape: entries 1000 instead of 999; ask for as many: --map-size flows=1000";
    assert!(message.contains(&format!("cannot share the maps of program {owner}: {says}")), "{message}");
    assert_eq!(engine.ids(), ids);

    let program = bench.request("settings", &["shares"]).programs;
    let load = LoadRequest { programs: program, ..bench.request("settings", &["shares"]) };
    let by = ReplaceLoadRequest { programs: vec![same], load, maps: MapPolicy::Keep, places: None };
    let next = engine.replace_load(&by).unwrap().programs[0].id;
    assert_eq!(engine.map_pins(next)["flows"], engine.map_pins(owner)["flows"]);
}

fn a_map_shared_by_name_keeps_its_size<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let load = |of: &[(&str, u32)]| {
        engine.load(&LoadRequest { values: sizes(of), ..bench.request("sharing", &["host"]) })
    };
    let first = load(&[("everyone", 32)]).unwrap().programs[0].id;
    assert_eq!(entries(bench, &engine, first, "everyone"), 32);
    for (of, wanted) in [(&[][..], 8), (&[("everyone", 33)][..], 33)] {
        let error = load(of).unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict);
        let says = format!("entries 32 instead of {wanted}; ask for as many: --map-size everyone=32");
        assert!(error.to_string().contains(&says), "{error}");
    }
    let second = load(&[("everyone", 32)]).unwrap().programs[0].id;
    assert_eq!(engine.map_pins(second)["everyone"], engine.map_pins(first)["everyone"]);
}

fn a_new_version_keeps_sizes_or_changes_them<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let first = engine.loads(&request(bench, "reads", &[("flows", 100), ("events", 8192)]))[0];
    let map = bench.kernel.open_map(MapId(engine.map_pins(first)["flows"])).unwrap();
    let entry = MapEntry { key: vec![1, 2, 3, 4], value: vec![5; 8] };
    bench.kernel.write_entry(&map, &entry).unwrap();
    let by = |program, values| ReplaceRequest { values, ..replacement(bench, program, "settings") };
    let fate = |outcome: &bpfmand_engine::ReplaceOutcome, map: &str| {
        outcome.maps.iter().find(|one| one.name == map).unwrap().fate
    };

    let same = engine.replace_program(&by(first, LoadValues::default())).unwrap();
    let second = same.programs[0].id;
    assert_eq!((fate(&same, "flows"), fate(&same, "events")), (MapFate::Kept, MapFate::Kept));
    assert_eq!(recorded(&engine, second), sizes(&[("flows", 100), ("events", 8192)]).map_sizes);

    let larger = engine.replace_program(&by(second, sizes(&[("flows", 200)]))).unwrap();
    let third = larger.programs[0].id;
    assert_eq!((fate(&larger, "flows"), fate(&larger, "events")), (MapFate::Copied(1), MapFate::Kept));
    assert_eq!(entries(bench, &engine, third, "flows"), 200);
    assert_eq!(recorded(&engine, third)["flows"], 200);
    let map = bench.kernel.open_map(MapId(engine.map_pins(third)["flows"])).unwrap();
    assert_eq!(bench.kernel.map_entries(&map, 9).unwrap(), [entry]);

    // The contents of a ring buffer cannot be copied into a smaller one.
    let error = engine.replace_program(&by(third, sizes(&[("events", 4096)]))).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict);
    assert!(
        error.to_string().contains("cannot keep its map \"events\": entries 8192 instead of 4096"),
        "{error}"
    );
    let back = engine.rollback_program(third, None).unwrap().programs[0].id;
    assert_eq!((entries(bench, &engine, back, "flows"), recorded(&engine, back)["flows"]), (100, 100));

    let other = ReplaceRequest {
        name: Some("alpha".to_owned()),
        maps: MapPolicy::Fresh,
        ..replacement(bench, back, "programs")
    };
    let other = engine.replace_program(&other).unwrap().programs[0].id;
    assert_eq!(recorded(&engine, other), BTreeMap::new());
    let load = LoadRequest { values: sizes(&[("counts", 64)]), ..bench.request("programs", &["alpha"]) };
    let by = ReplaceLoadRequest { programs: vec![other], load, maps: MapPolicy::Keep, places: None };
    let whole = engine.replace_load(&by).unwrap().programs[0].id;
    assert_eq!(entries(bench, &engine, whole, "counts"), 64);
    let load = bench.request("programs", &["alpha"]);
    let by = ReplaceLoadRequest { programs: vec![whole], load, maps: MapPolicy::Fresh, places: None };
    let whole = engine.replace_load(&by).unwrap().programs[0].id;
    assert_eq!((entries(bench, &engine, whole, "counts"), recorded(&engine, whole)), (16, BTreeMap::new()));
}

on_both_kernels!(
    a_map_has_the_size_that_is_set_also_after_a_restart,
    a_map_that_its_own_loader_sizes_loads_with_a_size,
    sizes_that_no_map_can_have_are_refused_and_leave_nothing,
    shared_maps_have_the_size_of_their_owner,
    a_map_shared_by_name_keeps_its_size,
    a_new_version_keeps_sizes_or_changes_them,
);

#[test]
fn a_reboot_brings_sizes_and_values_back() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let mut wanted = request(&bench, "reads", &[("flows", 1000), ("events", 9000)]);
    wanted.values.globals = crate::values::globals(&[("verdict", "1")]).globals;
    let owner = engine.loads(&wanted)[0];
    let mut sharing = request(&bench, "shares", &[]);
    sharing.map_owner = Some(owner);
    engine.loads(&sharing);
    drop(engine);
    bench.kernel.reboot();
    let _others = crate::reboots::others_load_first(&bench, 3);
    let (engine, report) = bench.start();
    assert_eq!((report.reloaded, report.problems), (2, Vec::new()));
    let ids = engine.ids();
    for program in &ids {
        assert_eq!(entries(&bench, &engine, *program, "flows"), 1000);
        assert_eq!(entries(&bench, &engine, *program, "events"), 16_384);
    }
    let of_owner = ids.iter().find(|id| bench.kernel.verdict(**id) == 1);
    assert!(of_owner.is_some());
}

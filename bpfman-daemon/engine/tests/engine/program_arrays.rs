//! Program arrays: programs in their slots are loaded too, and an array is for one type of programs.

use bpfman_model::{MapId, Reason};

use crate::bench::{Ask as _, Bench, Testable};
use crate::on_both_kernels;

fn load_without_a_program_of_its_array_is_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let error = engine.load(&bench.request("tail_calls", &["xdp_enters"])).unwrap_err();
    let message = error.to_string();
    for part in ["slot 2", "\"jumps\"", "add --programs xdp:xdp_drops"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(engine.ids().is_empty());
    assert_eq!(engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"])).len(), 2);
    engine.loads(&bench.request("tail_calls", &["xdp_alone"]));
}

#[test]
fn rest_of_a_load_survives_reboot() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    assert_eq!(engine.slot_concerns(), []);
    engine.unload(loaded[1]).unwrap();
    let [left] = &engine.slot_concerns()[..] else { panic!("one slot") };
    assert_eq!(left.program, loaded[0]);
    for part in ["slot 2 of map \"jumps\"", "still runs program \"xdp_drops\"", "after a reboot"] {
        assert!(left.what.contains(part), "{part}: {left:?}");
    }
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert_eq!(engine.ids().len(), 1);
    let [empty] = &engine.slot_concerns()[..] else { panic!("one slot") };
    assert!(empty.what.contains("slot 2 of map \"jumps\" is empty"), "{empty:?}");
    assert!(report.problems.iter().any(|problem| problem.contains(&empty.what)), "{report:?}");
    engine.unload(empty.program).unwrap();
    assert_eq!(engine.slot_concerns(), []);
}

fn slots_of_unloaded_programs_outlast_a_restart<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    let others = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    let array = MapId(engine.map_pins(loaded[0])["jumps"]);
    engine.unload(loaded[1]).unwrap();
    let before = engine.slot_concerns();
    let [left] = &before[..] else { panic!("one slot: {before:?}") };
    assert_eq!(left.program, loaded[0]);
    let restart = |engine| {
        drop(engine);
        bench.engine()
    };
    let engine = restart(engine);
    assert_eq!(engine.slot_concerns(), before);
    let map = bench.kernel.open_map(array).unwrap();
    let other = bench.kernel.open_program(others[1]).unwrap().unwrap();
    bench.kernel.fill_slot(&map, 2, &other).unwrap();
    let engine = restart(engine);
    assert_eq!(engine.slot_concerns(), [], "the slot has a program with a record");
    drop(engine);
    bench.kernel.clear_slot(&map, 2).unwrap();
    let engine = bench.engine();
    let [empty] = &engine.slot_concerns()[..] else { panic!("one slot") };
    assert!(empty.what.contains("slot 2 of map \"jumps\" is empty"), "{empty:?}");
    engine.unload(loaded[0]).unwrap();
    let engine = restart(engine);
    assert_eq!(engine.slot_concerns(), []);
}

on_both_kernels!(
    load_without_a_program_of_its_array_is_refused,
    slots_of_unloaded_programs_outlast_a_restart,
);

#[test]
fn an_array_of_two_kinds_of_one_type_is_named_with_both() {
    let bench = crate::linux::bench("an_array_of_frags");
    let engine = bench.engine();
    let error = engine.load(&bench.request("tail_calls", &["xdp_joins", "frags_join"])).unwrap_err();
    let message = error.to_string();
    for part in ["\"buffers\"", "with and without .frags", "arrays of their own"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn an_array_shared_by_name_is_of_one_type() {
    let bench = crate::linux::bench("an_array_by_name");
    let engine = bench.engine();
    engine.loads(&bench.request("tail_calls", &["xdp_shares"]));
    let error = engine.load(&bench.request("tail_calls", &["tc_shares"])).unwrap_err();
    let message = error.to_string();
    for part in ["\"by_name\"", "type xdp", "type tc"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn an_array_of_two_types_is_named_with_both() {
    let bench = crate::linux::bench("an_array_of_two_types");
    let engine = bench.engine();
    let error = engine.load(&bench.request("tail_calls", &["xdp_mixes", "tc_mixes"])).unwrap_err();
    let message = error.to_string();
    for part in ["\"mixed\"", "type xdp", "type tc", "an array of its own"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

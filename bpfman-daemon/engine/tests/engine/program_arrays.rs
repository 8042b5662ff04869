//! Program arrays: programs in their slots are loaded too, and an array is for one type of programs.

use bpfman_model::Reason;

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

on_both_kernels!(load_without_a_program_of_its_array_is_refused);

#[test]
fn what_is_left_of_a_load_comes_back_after_a_reboot() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("tail_calls", &["xdp_enters", "xdp_drops"]));
    engine.unload(loaded[1]).unwrap();
    drop(engine);
    bench.kernel.reboot();
    assert_eq!(bench.engine().ids().len(), 1);
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

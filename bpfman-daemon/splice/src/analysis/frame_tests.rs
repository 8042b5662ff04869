use super::*;
use crate::analysis::pointer::FULL;
use crate::text::testing::{
    EXIT, add, add_register, copy, helper, local_call, program, set_r0, spill, store,
};
use bpfman_model::op;

fn of(functions: &[&[Insn]]) -> Vec<(u32, bool)> {
    depths(&program(functions).0).iter().map(|depth| (depth.bytes, depth.certain)).collect()
}

const LOAD_R3_FROM_SLOT_8: Insn = Insn::new(0x79, 3, 10, -8, 0);

#[test]
fn the_lowest_access_counts_in_whole_slots() {
    assert_eq!(of(&[&[set_r0(0), EXIT]]), [(0, true)]);
    assert_eq!(of(&[&[store(-16), store(-40), EXIT]]), [(40, true)]);
    let byte = Insn::new(0x72, 10, 0, -9, 0);
    assert_eq!(of(&[&[byte, EXIT]]), [(16, true)]);
}

#[test]
fn copies_of_the_frame_pointer_are_followed() {
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), helper(1), EXIT]]), [(64, true)]);
    let sub = Insn::new(0x17, 2, 0, 0, 72);
    assert_eq!(of(&[&[copy(2, 10), sub, EXIT]]), [(72, true)]);
    let below = Insn::new(0x7a, 2, 0, -8, 0);
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), below, EXIT]]), [(72, true)]);
}

#[test]
fn pointers_come_back_from_where_they_were_spilled() {
    let below = Insn::new(0x7a, 3, 0, -16, 0);
    let body = [copy(2, 10), add(2, -64), spill(-8, 2), LOAD_R3_FROM_SLOT_8, below, EXIT];
    assert_eq!(of(&[&body]), [(80, true)]);
}

#[test]
fn a_variable_offset_is_uncertain_only_where_it_is_used() {
    let used = Insn::new(0x72, 2, 0, 0, 0);
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), add_register(2, 1), used, EXIT]]), [(64, false)]);
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), add_register(2, 1), EXIT]]), [(64, true)]);
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), add_register(1, 2), used, EXIT]]), [(64, true)]);
    let other = Insn::new(0x72, 1, 0, 0, 0);
    assert_eq!(of(&[&[copy(2, 10), add(2, -64), add_register(1, 2), other, EXIT]]), [(64, false)]);
}

#[test]
fn both_ways_to_a_place_count() {
    let skip = Insn::new(0x15, 1, 0, 1, 0);
    let used = Insn::new(0x7a, 2, 0, 0, 0);
    let body = [copy(2, 10), add(2, -8), skip, add(2, -120), used, EXIT];
    assert_eq!(of(&[&body]), [(128, true)]);
}

#[test]
fn a_pointer_that_descends_in_a_loop_reaches_the_end() {
    let back = Insn::new(0x55, 1, 0, -3, 0);
    let used = Insn::new(0x72, 2, 0, 0, 0);
    let (bytes, _) = of(&[&[copy(2, 10), add(2, -1), used, back, EXIT]])[0];
    assert!(bytes >= FULL, "{bytes}");
}

#[test]
fn a_callee_may_reach_below_its_argument() {
    let below = Insn::new(0x7a, 1, 0, -24, 0);
    let caller = [copy(1, 10), add(1, -32), local_call(1), EXIT];
    assert_eq!(of(&[&caller, &[below, set_r0(0), EXIT]]), [(56, true), (0, true)]);
    let variable = [add_register(1, 2), below, set_r0(0), EXIT];
    assert_eq!(of(&[&caller, &variable])[0], (56, false));
}

#[test]
fn a_callback_may_reach_below_its_context() {
    let address = Insn::new(op::LD_IMM64, 2, op::PSEUDO_FUNC, 0, 4);
    let caller = [copy(3, 10), add(3, -32), address, Insn::default(), helper(181), set_r0(0), EXIT];
    let callback = [Insn::new(0x7a, 2, 0, -8, 0), set_r0(0), EXIT];
    assert_eq!(of(&[&caller, &callback]), [(40, true), (0, true)]);
}

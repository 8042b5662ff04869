use super::*;
use crate::text::testing::{
    EXIT, add, add_register, copy, helper, load, local_call, program, set_r0, spill, store,
};
use bpfman_model::op;

/// Distances below the frame pointer of slots that may be read unwritten.
fn of(functions: &[&[Insn]]) -> Vec<u32> {
    of_each(functions)[0].clone()
}

fn of_each(functions: &[&[Insn]]) -> Vec<Vec<u32>> {
    slots(&program(functions).0).iter().map(|slots| slots.depths(FULL).collect()).collect()
}

/// Register 1 is the context: its value is unknown.
const fn if_zero(distance: i16) -> Insn {
    Insn::new(0x15, 1, 0, distance, 0)
}

#[test]
fn slot_written_before_read_needs_no_zeroing() {
    assert_eq!(of(&[&[store(-8), load(2, 10, -8), set_r0(2), EXIT]]), []);
    assert_eq!(of(&[&[set_r0(2), EXIT]]), []);
    assert_eq!(of(&[&[load(2, 10, -8), store(-8), set_r0(2), EXIT]]), [8]);
}

#[test]
fn each_byte_of_a_slot_counts() {
    let word = Insn::new(0x62, 10, 0, -8, 0);
    let other = Insn::new(0x62, 10, 0, -4, 0);
    assert_eq!(of(&[&[word, load(2, 10, -8), set_r0(2), EXIT]]), [8]);
    assert_eq!(of(&[&[word, other, load(2, 10, -8), set_r0(2), EXIT]]), []);
    let byte = Insn::new(0x71, 2, 10, -17, 0);
    assert_eq!(of(&[&[byte, set_r0(2), EXIT]]), [24]);
    assert_eq!(of(&[&[load(2, 10, -12), set_r0(2), EXIT]]), [8, 16]);
}

#[test]
fn a_write_counts_if_it_is_on_every_way() {
    let body = [if_zero(1), store(-8), load(2, 10, -8), set_r0(2), EXIT];
    assert_eq!(of(&[&body]), [8]);
    let jump = Insn::new(op::JA, 0, 0, 1, 0);
    let body = [if_zero(2), store(-8), jump, store(-8), load(2, 10, -8), set_r0(2), EXIT];
    assert_eq!(of(&[&body]), []);
}

#[test]
fn a_helper_may_read_from_its_pointer_to_the_frames_end() {
    let shown = [copy(2, 10), add(2, -24), helper(1), set_r0(2), EXIT];
    assert_eq!(of(&[&shown]), [8, 16, 24]);
    let written = [store(-24), store(-8), copy(2, 10), add(2, -24), helper(1), set_r0(2), EXIT];
    assert_eq!(of(&[&written]), [16]);
    let deeper =
        [store(-24), store(-8), copy(2, 10), add(2, -8), helper(1), load(3, 10, -24), set_r0(2), EXIT];
    assert_eq!(of(&[&deeper]), []);
    let filled = [copy(2, 10), add(2, -8), helper(1), load(3, 10, -8), set_r0(2), EXIT];
    assert_eq!(of(&[&filled]), [8]);
}

#[test]
fn where_the_place_is_not_known_all_slots_count() {
    let all = FrameSlots::ALL.depths(FULL).collect::<Vec<_>>();
    assert_eq!(all.len(), 64);
    let variable = [copy(2, 10), add(2, -64), add_register(2, 1), load(3, 2, 0), set_r0(2), EXIT];
    assert_eq!(of(&[&variable]), all);
    let but_one = [store(-16), copy(2, 10), add(2, -64), add_register(2, 1), load(3, 2, 0), set_r0(2), EXIT];
    assert_eq!(of(&[&but_one]).len(), 63);
    assert_eq!(of(&[&[set_r0(2), helper(12), EXIT]]), all, "a tail call");
}

#[test]
fn a_write_by_a_pointer_is_none_and_a_read_by_one_is() {
    // The pointer may be another one on another path: only the frame pointer is certain.
    let body = [copy(2, 10), Insn::new(0x7a, 2, 0, -8, 0), load(3, 10, -8), set_r0(2), EXIT];
    assert_eq!(of(&[&body]), [8]);
    let spilled = [copy(2, 10), add(2, -32), spill(-8, 2), load(4, 10, -8), load(3, 4, 0), set_r0(2), EXIT];
    assert_eq!(of(&[&spilled]), [32]);
}

#[test]
fn called_functions_may_read_what_they_are_shown_and_their_own() {
    let all = FrameSlots::ALL.depths(FULL).collect::<Vec<_>>();
    let shows = [copy(1, 10), add(1, -8), local_call(2), set_r0(2), EXIT];
    let own = [load(2, 10, -16), set_r0(2), EXIT];
    assert_eq!(of_each(&[&shows, &own]), [all, vec![16]]);
    let silent = [local_call(2), set_r0(2), EXIT];
    assert_eq!(of_each(&[&silent, &own]), [vec![], vec![16]]);
    let through = [load(2, 1, -16), set_r0(2), EXIT];
    assert_eq!(of_each(&[&silent, &through])[1], []);
}

#[test]
fn atomic_operations_read() {
    let add = Insn::new(0xdb, 10, 1, -8, 0);
    assert_eq!(of(&[&[add, set_r0(2), EXIT]]), [8]);
    assert_eq!(of(&[&[store(-8), add, set_r0(2), EXIT]]), []);
}

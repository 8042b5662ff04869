use bpfman_model::{Insn, op};

use super::*;
use crate::text::testing::{EXIT, copy, helper, load, local_call, program, set_r0};

const XDP: SpliceHook = SpliceHook::Xdp;
const TC: SpliceHook = SpliceHook::TcTcx;
const IF_R1_IS_0_SKIP_1: Insn = Insn::new(0x15, 1, 0, 1, 0);

fn of(hook: SpliceHook, body: &[Insn]) -> Departures {
    Departures::of(&program(&[body, &[set_r0(3), EXIT]]).0, hook, true)
}

fn known(indexes: &[u32]) -> PacketTargets {
    PacketTargets::Known(indexes.iter().copied().collect())
}

const fn set(register: u8, value: i32) -> Insn {
    Insn::new(0xb7, register, 0, 0, value)
}

#[test]
fn constants_prove_that_nothing_leaves() {
    let harmless = [set_r0(2), IF_R1_IS_0_SKIP_1, set_r0(1), EXIT];
    assert_eq!(of(XDP, &harmless), Departures::default());
    assert_eq!(of(TC, &harmless), Departures::default());
}

#[test]
fn xdp_tx_leaves_by_the_hooks_interface() {
    let sends = Departures { returns: true, targets: known(&[]) };
    for body in [
        &[set_r0(2), IF_R1_IS_0_SKIP_1, set_r0(3), EXIT][..],
        &[local_call(1), EXIT],
        &[helper(7), EXIT],
        &[load(0, 1, 0), EXIT],
    ] {
        assert_eq!(of(XDP, body), sends, "{body:?}");
        assert_eq!(of(TC, body), Departures::default(), "{body:?}");
    }
}

#[test]
fn targets_that_are_constants_are_known() {
    let to = |index| [set(1, index), set(2, 0), helper(23), EXIT];
    assert_eq!(of(TC, &to(7)).targets, known(&[7]));
    assert_eq!(of(XDP, &to(7)), Departures { returns: true, targets: known(&[7]) });
    let two = [
        IF_R1_IS_0_SKIP_1,
        Insn::new(op::JA, 0, 0, 3, 0),
        set(1, 7),
        helper(23),
        EXIT,
        set(1, 8),
        helper(23),
        EXIT,
    ];
    assert_eq!(of(TC, &two).targets, known(&[7, 8]));
    let joined = [set(1, 7), IF_R1_IS_0_SKIP_1, set(1, 8), set(2, 0), helper(23), EXIT];
    assert_eq!(of(TC, &joined).targets, known(&[8]), "r1 is not 0");
    let read = [load(1, 1, 0), helper(23), EXIT];
    assert_eq!(of(TC, &read).targets, PacketTargets::Any);
    let from_argument = [copy(1, 3), helper(152), EXIT];
    assert_eq!(of(TC, &from_argument).targets, PacketTargets::Any);
    assert_eq!(of(XDP, &[set(1, 7), helper(51), EXIT]).targets, PacketTargets::Any, "an entry of a map");
}

#[test]
fn redirects_without_their_verdict_send_nothing() {
    let body = [set(1, 7), helper(23), set_r0(2), EXIT];
    assert_eq!(of(TC, &body), Departures::default());
    assert_eq!(of(XDP, &body), Departures::default());
    let shadow = Departures::of(&program(&[&[set(1, 7), helper(23), EXIT]]).0, XDP, false);
    assert_eq!(shadow, Departures::default());
}

#[test]
fn copies_leave_whatever_the_verdict_is() {
    let to = |index, flags| [set(2, index), set(3, flags), helper(13), set_r0(2), EXIT];
    assert_eq!(of(TC, &to(7, 0)).targets, known(&[7]));
    assert_eq!(of(TC, &to(7, 1)).targets, known(&[]), "into the interface");
    assert_eq!(of(TC, &[copy(2, 1), helper(13), set_r0(2), EXIT]).targets, PacketTargets::Any);
    let ingress = [set(1, 7), set(2, 1), helper(23), EXIT];
    assert_eq!(of(TC, &ingress).targets, known(&[]));
    let in_function =
        program(&[&[local_call(2), set_r0(0), EXIT], &[set(2, 9), set(3, 0), helper(13), EXIT]]);
    assert_eq!(Departures::of(&in_function.0, TC, false).targets, known(&[9]));
}

#[test]
fn calls_of_programs_that_are_not_seen_may_send_anywhere() {
    let tail_call = of(XDP, &[helper(12), set_r0(2), EXIT]);
    assert_eq!(tail_call, Departures { returns: true, targets: PacketTargets::Any });
    let of_module = of(TC, &[Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 1, 9), set_r0(0), EXIT]);
    assert_eq!(of_module.targets, PacketTargets::Any);
}

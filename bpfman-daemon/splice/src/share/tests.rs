use bpfman_model::{BoundText, Insn};

use crate::text::opcode;
use crate::text::testing::{EXIT, add, copy, helper, program, set_r0};
use crate::{Member, ProceedMask, Splice, SpliceHook, SpliceOptions, splice};

const ADJUST_HEAD: i32 = 44;
/// A proceed-on set whose test a constant verdict decides.
const PASS: ProceedMask = ProceedMask(1 << 2);

const fn load_word(dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(opcode::LOAD_W, dst, src, off, 0)
}

const fn load_byte(dst: u8, src: u8, off: i16) -> Insn {
    Insn::new(0x71, dst, src, off, 0)
}

/// `if r3 > r2 goto`.
const fn if_beyond(distance: i16) -> Insn {
    Insn::new(0x2d, 3, 2, distance, 0)
}

/// Drops packets below 14 bytes, passes those of other types, else runs `then` with the packet's start in register 7.
fn parser(then: &[Insn]) -> BoundText {
    let end = then.len() as i16;
    let head = [
        copy(6, 1),
        load_word(7, 6, 0),
        load_word(2, 6, 4),
        copy(3, 7),
        add(3, 14),
        if_beyond(end + 4),
        load_byte(4, 7, 12),
        Insn::new(0x55, 4, 0, end, 8),
    ];
    program(&[&[&head[..], then, &[set_r0(2), EXIT, set_r0(1), EXIT]].concat()])
}

fn joined(members: &[&BoundText], shares_headers: bool) -> Splice {
    let members: Vec<Member<'_>> = members.iter().map(|text| Member::new("a.o", text, PASS)).collect();
    let options = SpliceOptions { shares_headers, ..SpliceOptions::new(SpliceHook::Xdp) };
    splice("chain", &members, &options).unwrap()
}

/// Counts comparisons with the end of the packet, and of the type.
fn tests(splice: &Splice) -> (usize, usize) {
    let count = |is: fn(&Insn) -> bool| splice.text.0.insns.iter().filter(|insn| is(insn)).count();
    (count(|insn| insn.code == 0x2d), count(|insn| insn.code == 0x55 && insn.imm == 8))
}

#[test]
fn second_member_does_not_repeat_tests_of_first() {
    let text = parser(&[helper(7)]);
    let (before, shared) = (joined(&[&text, &text], false), joined(&[&text, &text], true));
    assert_eq!((before.shared > 0, tests(&before)), (false, (2, 2)));
    assert_eq!((shared.shared > 0, tests(&shared)), (true, (1, 1)));
    assert!(shared.stack_bytes > before.stack_bytes, "the start of the packet has a slot");
}

#[test]
fn a_store_into_the_packet_has_bytes_tested_again() {
    let writer = parser(&[Insn::new(0x72, 7, 0, 3, 1)]);
    let text = parser(&[helper(7)]);
    // Behind the writer, the length is still known, and so is the type on the path without the store.
    assert_eq!(tests(&joined(&[&writer, &text], true)), (1, 2));
    let unknown = parser(&[copy(1, 9), Insn::new(0x72, 1, 0, 3, 1)]);
    assert_eq!(tests(&joined(&[&unknown, &text], true)), (1, 2), "an unknown address may be in the packet");
}

#[test]
fn a_moved_packet_is_parsed_again() {
    let text = parser(&[helper(7)]);
    let mover = parser(&[copy(1, 6), Insn::new(opcode::MOV64_IMM, 2, 0, 0, 4), helper(ADJUST_HEAD)]);
    assert_eq!(tests(&joined(&[&mover, &text], true)), (2, 2));
}

#[test]
fn a_call_may_change_the_packet() {
    let text = parser(&[helper(7)]);
    let mut caller = parser(&[Insn::new(0x85, 0, 1, 0, 4)]);
    caller.0.insns.extend([set_r0(0), EXIT]);
    let start = caller.0.functions[0].len;
    caller.0.functions.push(bpfman_model::FunctionSpan { name: "callee".to_owned(), start, len: 2 });
    let shared = joined(&[&caller, &text], true);
    assert_eq!(tests(&shared), (2, 2));
    let call = shared.text.0.insns.iter().position(|insn| insn.is_local_call()).unwrap();
    let to = (call as i64 + 1 + i64::from(shared.text.0.insns[call].imm)) as usize;
    assert_eq!(shared.text.0.functions[1].start, to);
}

#[test]
fn in_a_loop_nothing_is_known() {
    let text = parser(&[helper(7)]);
    let looping = parser(&[helper(7), Insn::new(0x55, 0, 0, -2, 3)]);
    let shared = joined(&[&looping, &text], true);
    assert_eq!(tests(&shared), (2, 2), "the loop ends on the only path of which something was known");
}

#[test]
fn without_anything_in_common_nothing_changes() {
    let text = program(&[&[helper(7), EXIT]]);
    let parses = parser(&[helper(7)]);
    for members in [[&text, &text], [&text, &parses]] {
        assert_eq!(joined(&members, true), joined(&members, false));
    }
}

#[test]
fn sections_and_lines_cover_all_copies() {
    let text = parser(&[helper(7)]);
    let shared = joined(&[&text, &text, &text], true);
    let mut end = 0;
    for section in &shared.sections {
        assert_eq!(section.insns.start, end);
        end = section.insns.end;
    }
    assert_eq!(end, shared.text.0.insns.len());
    let lines = &shared.text.0.line_info;
    assert_eq!(lines[0].insn_off, 0);
    assert!(lines.is_sorted_by(|one, next| one.insn_off < next.insn_off));
}

use super::*;
use crate::chain::hook::SpliceHook;
use crate::chain::join_mode::{MemberPlan, NotInlinedReason};
use crate::chain::member::Member;
use crate::chain::options::{FragsRule, FrameRounding, SpliceOptions};
use crate::chain::proceed::ProceedMask;
use crate::chain::sections::ChainPart;
use crate::emit::compile::splice;
use crate::error::limits::MAX_MEMBERS;
use crate::error::refusal::Refusal;
use crate::planning::planner::plan;
use crate::text::testing::{EXIT, constant, copy, helper, load, local_call, program, set_r0, store, unknown};
use bpfman_model::{Insn, op};

const PASS: ProceedMask = ProceedMask(1 << 2);
const XDP: SpliceOptions<'static> = SpliceOptions::new(SpliceHook::Xdp);
const TCX: SpliceOptions<'static> = SpliceOptions::new(SpliceHook::TcTcx);

fn join(texts: &[&BoundText], options: &SpliceOptions<'_>) -> Result<Splice, SpliceError> {
    let members: Vec<_> = texts.iter().map(|text| Member::new("a.o", text, PASS)).collect();
    splice("chain", &members, options)
}

fn refusal(member: Member<'_>, options: &SpliceOptions<'_>) -> Refusal {
    let first = constant(2);
    let last = constant(2);
    let members = [Member::new("first.o", &first, PASS), member, Member::new("last.o", &last, PASS)];
    match splice("chain", &members, options) {
        Err(SpliceError::Refused { member, reason }) => {
            assert_eq!(member.position, 2);
            assert!(!reason.hint().is_empty());
            reason
        }
        other => panic!("{other:?}"),
    }
}

fn refused_text(text: &BoundText, options: &SpliceOptions<'_>) -> Refusal {
    refusal(Member::new("bad.o", text, PASS), options)
}

fn stores(insns: &[Insn]) -> Vec<i16> {
    insns.iter().filter(|insn| insn.code == 0x7a && insn.dst() == 10).map(|insn| insn.off).collect()
}

fn helpers(splice: &Splice) -> Vec<i32> {
    splice.text.0.insns.iter().filter(|i| i.code == op::CALL && i.src() == 0).map(|i| i.imm).collect()
}

#[test]
fn two_members_look_as_documented() {
    let text = unknown();
    let joined = join(&[&text, &text], &XDP).unwrap();
    let expected = [
        Insn::new(0x7b, 10, 1, -8, 0), // context kept
        helper(7),
        Insn::new(op::JA, 0, 0, 0, 0),
        Insn::new(0x56, 0, 0, 3, 2),   // not PASS: the end
        Insn::new(0x79, 1, 10, -8, 0), // context
        helper(7),
        Insn::new(op::JA, 0, 0, 0, 0),
        EXIT,
    ];
    assert_eq!(joined.text.0.insns, expected);
}

#[test]
fn all_members_but_the_first_see_no_foreign_data_in_their_reads() {
    let text = program(&[&[store(-24), load(2, 10, -16), load(2, 10, -24), set_r0(2), EXIT]]);
    let small = constant(2);
    let joined = join(&[&text, &small, &text], &XDP).unwrap();
    assert_eq!(stores(&joined.text.0.insns), [-24, -16, -24]);
    // The context is stored below the deepest frame of the members before the last.
    assert_eq!(joined.text.0.insns[0], Insn::new(0x7b, 10, 1, -32, 0));
}

#[test]
fn the_last_members_frame_may_cover_the_context() {
    let small = constant(2);
    let full = program(&[&[store(-512), set_r0(2), EXIT]]);
    let joined = join(&[&small, &full], &XDP).unwrap();
    assert_eq!(joined.text.0.insns[0], Insn::new(0x7b, 10, 1, -8, 0));
    assert_eq!(joined.stack_bytes, 512);
}

#[test]
fn behind_a_full_frame_the_context_is_in_a_free_register() {
    let full = program(&[&[copy(6, 1), store(-512), set_r0(2), EXIT]]);
    let last = program(&[&[copy(7, 1), set_r0(2), EXIT]]);
    let joined = join(&[&full, &last], &XDP).unwrap();
    assert_eq!(joined.text.0.insns[0], copy(7, 1));
}

#[test]
fn frame_and_calls_must_fit_together() {
    let deep = program(&[&[store(-400), set_r0(2), EXIT]]);
    let calls = program(&[&[local_call(1), EXIT], &[store(-96), set_r0(2), EXIT]]);
    // 408 bytes count as 416, the callee's 96 as they are: 512 by either rule.
    let fits = join(&[&deep, &calls], &XDP).unwrap();
    assert_eq!(fits.stack_bytes, 512);
    let to16 = SpliceOptions { rounding: FrameRounding::To16, ..XDP };
    let leaf = program(&[&[local_call(1), EXIT], &[set_r0(2), EXIT]]);
    let fullest = program(&[&[store(-504), set_r0(2), EXIT]]);
    let bytes = |options| join(&[&fullest, &leaf], options).map(|joined| joined.stack_bytes);
    assert_eq!(bytes(&to16), Ok(512), "an empty frame counts nothing");
    // On Linux 6.1 an empty frame counts 32 bytes: the chain is cut.
    assert!(matches!(bytes(&XDP), Err(SpliceError::NeedsArrays { .. })));
}

#[test]
fn calls_and_function_pointers_follow_their_functions() {
    let pointer = Insn::new(op::LD_IMM64, 2, op::PSEUDO_FUNC, 0, 4);
    let text = program(&[
        &[local_call(5), pointer, Insn::default(), helper(181), set_r0(2), EXIT],
        &[set_r0(0), EXIT],
    ]);
    let mut text = text;
    text.0.insns[1].imm = 4;
    let joined = join(&[&text, &text], &XDP).unwrap();
    let bound = &joined.text.0;
    assert_eq!(bound.functions.len(), 3);
    let mut targets = Vec::new();
    for (at, insn) in bound.insns.iter().enumerate() {
        if insn.is_local_call() || insn.is_function_pointer() {
            targets.push((at as i64 + 1 + i64::from(insn.imm)) as usize);
        }
    }
    let (first, second) = (bound.functions[1].start, bound.functions[2].start);
    assert_eq!(targets, [first, first, second, second]);
}

#[test]
fn redirect_target_is_cleared_if_chain_continues() {
    let redirects = program(&[&[helper(51), set_r0(2), EXIT]]);
    let plain = constant(2);
    assert_eq!(helpers(&join(&[&redirects, &plain], &XDP).unwrap()), [51, 23]);
    assert_eq!(helpers(&join(&[&plain, &redirects], &XDP).unwrap()), [51], "not behind the last");
    for helper_id in [23, 152, 155] {
        let in_function = program(&[&[local_call(1), EXIT], &[helper(helper_id), EXIT]]);
        assert_eq!(helpers(&join(&[&in_function, &plain], &XDP).unwrap()), [23, helper_id]);
    }
}

#[test]
fn redirect_in_set_continues_and_clears_target() {
    let (asks, plain) = (program(&[&[helper(51), set_r0(4), EXIT]]), constant(2));
    let member = Member::new("asks.o", &asks, ProceedMask(1 << 4 | 1 << 2));
    let last = Member::new("plain.o", &plain, PASS);
    assert_eq!(helpers(&splice("chain", &[member, last], &XDP).unwrap()), [51, 23]);
    let asks = program(&[&[helper(23), set_r0(7), EXIT]]);
    let member = Member::new("asks.o", &asks, ProceedMask(1 << 8));
    assert_eq!(helpers(&splice("chain", &[member, last], &TCX).unwrap()), [23, 23]);
}

#[test]
fn harmless_instructions_below_a_call_are_accepted() {
    let may_goto = Insn::new(op::JCOND, 0, 0, 0, 0);
    let old_load = Insn::new(0x30, 0, 0, 0, 12);
    let text = program(&[&[local_call(1), EXIT], &[may_goto, old_load, EXIT]]);
    assert!(join(&[&text, &text], &XDP).is_ok());
}

#[test]
fn malformed_members_are_refused() {
    let malformed = |text: &BoundText| {
        let reason = refused_text(text, &XDP);
        assert!(matches!(reason, Refusal::Malformed { .. }), "{reason:?}");
    };
    malformed(&program(&[]));
    malformed(&program(&[&[set_r0(2)]]));
    malformed(&program(&[&[Insn::new(op::JA, 0, 0, 7, 0), EXIT]]));
    malformed(&program(&[&[Insn::new(op::JA, 0, 0, -2, 0), EXIT]]));
    malformed(&program(&[&[Insn::new(op::LD_IMM64, 0, 0, 0, 0)]]));
    malformed(&program(&[&[local_call(7), EXIT]]));
    malformed(&program(&[&[local_call(-1), EXIT]]));
    malformed(&program(&[&[local_call(1), EXIT], &[local_call(-1), EXIT]]));
    let mut gap = constant(2);
    gap.0.functions[0].len = 1;
    malformed(&gap);
    let into_second_half = program(&[&[
        Insn::new(op::JA, 0, 0, 1, 0),
        Insn::new(op::LD_IMM64, 0, 0, 0, 0),
        Insn::default(),
        EXIT,
    ]]);
    malformed(&into_second_half);
}

#[test]
fn licences_do_not_leak() {
    let with = |licence: &str| {
        let mut text = constant(2);
        text.0.license = licence.to_owned();
        text
    };
    let joined = |a: &str, b: &str| join(&[&with(a), &with(b)], &XDP).map(|joined| joined.licence);
    let licence = |text: &str, gpl_compatible| Ok(Licence { text: text.to_owned(), gpl_compatible });
    assert_eq!(joined("Dual MIT/GPL", "Dual MIT/GPL"), licence("Dual MIT/GPL", true));
    assert_eq!(joined("Dual MIT/GPL", "GPL v2"), licence("GPL", true));
    assert_eq!(joined("Proprietary", "Proprietary"), licence("Proprietary", false));
    let several = joined("Proprietary", "Apache-2.0").unwrap();
    assert!(!several.gpl_compatible && !licence::is_gpl_compatible(&several.text));
    let mixed = joined("GPL", "MIT");
    assert!(matches!(mixed, Err(SpliceError::NeedsArrays { .. })), "{mixed:?}");
}

#[test]
fn frags_must_agree_unless_they_may_be_dropped() {
    let plain = constant(2);
    let mut frags = constant(2);
    frags.0.frags = true;
    assert!(join(&[&frags, &frags], &XDP).unwrap().text.0.frags);
    let Err(SpliceError::FragsDisagree { with, without }) = join(&[&plain, &frags], &XDP) else {
        panic!("must be refused")
    };
    assert_eq!((with.position, without.position), (2, 1));
    let lenient = SpliceOptions { frags: FragsRule::OnlyIfAll, ..XDP };
    assert!(!join(&[&plain, &frags], &lenient).unwrap().text.0.frags);
}

#[test]
fn limits_are_limits() {
    let text = constant(2);
    assert!(join(&[&text; MAX_MEMBERS], &XDP).is_ok());
    assert_eq!(
        join(&[&text; MAX_MEMBERS + 1], &XDP),
        Err(SpliceError::TooManyMembers { given: MAX_MEMBERS + 1 })
    );
    assert_eq!(join(&[], &XDP), Err(SpliceError::NoMembers));
    let with_maps = |from: i32, to: i32| {
        let mut insns = Vec::new();
        for id in from..to {
            insns.extend([Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_FD, 0, id), Insn::default()]);
        }
        insns.extend([set_r0(2), EXIT]);
        program(&[&insns])
    };
    assert!(join(&[&with_maps(0, 40), &with_maps(20, 64)], &XDP).is_ok(), "shared maps count once");
    for name in ["", "sixteen_letters_", "with space", "slash/"] {
        let refused = splice(name, &[Member::new("a.o", &text, PASS)], &XDP);
        assert_eq!(refused, Err(SpliceError::BadName { name: name.to_owned() }));
    }
}

#[test]
fn long_jumps_need_a_kernel_that_has_them() {
    let early_exit = |len: usize| {
        let skip = Insn::new(0x15, 1, 0, 1, 0);
        program(&[&[vec![skip, EXIT], vec![set_r0(2); len], vec![helper(7), EXIT]].concat()])
    };
    let (near, far) = (early_exit(30_000), early_exit(33_000));
    let calls = |joined: &Splice| joined.text.0.insns.iter().filter(|insn| insn.is_local_call()).count();
    let of = |texts: &[&BoundText], options| join(texts, options).unwrap();
    assert_eq!(calls(&of(&[&near, &near], &XDP)), 0);
    assert_eq!(calls(&of(&[&far], &XDP)), 1);
    assert_eq!(calls(&of(&[&near, &near, &near], &XDP)), 1);
    let wide = SpliceOptions { ja32: true, ..XDP };
    let long = of(&[&far], &wide);
    let jump = long.text.0.insns[1];
    assert_eq!((jump.code, jump.imm, calls(&long)), (op::JA32, 33_002, 0));
    // The check of the first member is far from the chain's end, which it reaches by an unconditional jump.
    let chain = of(&[&near, &near, &near], &wide);
    assert!(chain.text.0.insns.iter().any(|insn| insn.code == op::JA32));
    assert_eq!(calls(&chain), 0);
}

#[test]
fn members_that_no_verdict_reaches_are_left_out() {
    let text = unknown();
    let members = [
        Member::new("a.o", &text, PASS),
        Member::new("b.o", &text, ProceedMask(0)),
        Member::new("c.o", &text, PASS),
    ];
    let joined = splice("chain", &members, &XDP).unwrap();
    assert_eq!(joined.members, 0..2);
    assert_eq!(helpers(&joined), [7, 7]);
}

#[test]
fn every_instruction_has_an_owner() {
    let text = program(&[&[local_call(1), EXIT], &[store(-8), set_r0(2), EXIT]]);
    let joined = join(&[&text, &text], &XDP).unwrap();
    let mut end = 0;
    for section in &joined.sections {
        assert_eq!(section.insns.start, end);
        end = section.insns.end;
        assert_eq!(joined.section_at(section.insns.start), Some(section));
        assert_eq!(joined.section_at(end - 1), Some(section));
    }
    assert_eq!(end, joined.text.0.insns.len());
    assert_eq!(joined.section_at(end), None);
}

#[test]
fn lines_name_the_member() {
    let text = program(&[&[local_call(1), EXIT], &[set_r0(2), EXIT]]);
    let bound = join(&[&text, &text], &XDP).unwrap().text.0;
    let raw = bound.btf.unwrap();
    let strings = crate::text::btf_records::sections(&raw).unwrap().strings;
    let lines: Vec<String> = bound
        .line_info
        .iter()
        .map(|line| {
            let bytes = strings[line.line_off as usize..].split(|byte| *byte == 0).next().unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        })
        .collect();
    let expected = [
        "member 1: a.o:entry",
        "member 1: a.o:entry",
        "after member 1: a.o:entry",
        "member 2: a.o:entry",
        "member 2: a.o:entry",
        "after member 2: a.o:entry",
        "member 1: a.o:function_1",
        "member 2: a.o:function_1",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_kernels_stack_figure_decides_or_disagrees() {
    let text = program(&[&[store(-16), set_r0(2), EXIT]]);
    let member = |depths| Member { kernel_stack_depths: Some(depths), ..Member::new("b.o", &text, PASS) };
    assert!(splice("chain", &[member(&[16])], &XDP).is_ok());
    assert!(splice("chain", &[member(&[0])], &XDP).is_ok(), "code that cannot run is not counted");
    let set = ProceedMask(1 << 1 | 1 << 2);
    let planned = plan(&[Member { proceed_on: set, ..member(&[24]) }], &XDP).unwrap();
    let unclear = NotInlinedReason::UnclearStack { function: "entry".to_owned(), kernel: 24, computed: 16 };
    assert_eq!(planned.members, [MemberPlan { way: JoinMode::Standalone, reason: Some(unclear) }]);
    let may_goto = Insn::new(op::JCOND, 0, 0, 0, 0);
    let grown = program(&[&[local_call(2), helper(181), EXIT], &[may_goto, set_r0(2), EXIT]]);
    let grown = Member { kernel_stack_depths: Some(&[24, 16]), ..Member::new("b.o", &grown, PASS) };
    assert!(splice("chain", &[grown], &XDP).is_ok_and(|joined| joined.stack_bytes == 64));
    let variable = program(&[&[
        copy(2, 10),
        Insn::new(0x07, 2, 0, 0, -64),
        Insn::new(0x0f, 2, 1, 0, 0),
        Insn::new(0x72, 2, 0, 0, 0),
        set_r0(2),
        EXIT,
    ]]);
    let last = constant(2);
    let with = |depths| {
        let member = Member { kernel_stack_depths: depths, ..Member::new("b.o", &variable, PASS) };
        splice("chain", &[member, Member::new("c.o", &last, PASS)], &XDP).unwrap().text.0.insns[0]
    };
    assert_eq!(with(Some(&[80])), Insn::new(0x7b, 10, 1, -88, 0));
    assert_eq!(with(None), copy(6, 1), "without a figure the frame counts as full");
}

#[path = "splice_properties_tests.rs"]
mod properties;

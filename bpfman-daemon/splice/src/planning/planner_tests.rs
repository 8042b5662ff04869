use super::*;
use crate::chain::hook::SpliceHook;
use crate::chain::member::MemberOwner;
use crate::chain::options::FrameRounding;
use crate::chain::plan::CutReason;
use crate::chain::proceed::ProceedMask;
use crate::error::SpliceError;
use crate::error::refusal::Refusal;
use crate::text::testing::{EXIT, copy, helper, local_call, program, set_r0, store};
use bpfman_model::{BoundText, Insn, MapId, op};

const PASS: ProceedMask = ProceedMask(1 << 2);
const XDP: SpliceOptions<'static> =
    SpliceOptions { rounding: FrameRounding::To16, ..SpliceOptions::new(SpliceHook::Xdp) };
const TCX: SpliceOptions<'static> =
    SpliceOptions { rounding: FrameRounding::To16, ..SpliceOptions::new(SpliceHook::TcTcx) };

fn pass() -> BoundText {
    program(&[&[set_r0(2), EXIT]])
}

fn in_entry(insn: Insn) -> BoundText {
    program(&[&[insn, set_r0(2), EXIT]])
}

fn member(text: &BoundText) -> Member<'_> {
    Member::new("a.o", text, PASS)
}

fn chain(texts: &[&BoundText], options: &SpliceOptions<'_>) -> Result<ChainPlan, SpliceError> {
    let members: Vec<_> = texts.iter().map(|text| member(text)).collect();
    plan(&members, options)
}

fn ways(plan: &ChainPlan) -> Vec<JoinMode> {
    plan.members.iter().map(|member| member.way).collect()
}

fn starts(plan: &ChainPlan) -> Vec<usize> {
    plan.segments.iter().map(|segment| segment.members.start).collect()
}

fn between(subject: Member<'_>, options: &SpliceOptions<'_>) -> MemberPlan {
    let pass = pass();
    plan(&[member(&pass), subject, member(&pass)], options).unwrap().members[1].clone()
}

fn function(reason: NotInlinedReason) -> MemberPlan {
    MemberPlan { way: JoinMode::Function, reason: Some(reason) }
}

fn own(reason: NotInlinedReason) -> MemberPlan {
    MemberPlan { way: JoinMode::Standalone, reason: Some(reason) }
}

fn deep(depth: usize) -> BoundText {
    let call = [local_call(1), EXIT];
    let leaf = [set_r0(2), EXIT];
    let functions: Vec<&[Insn]> =
        (1..=depth).map(|number| if number < depth { &call[..] } else { &leaf[..] }).collect();
    program(&functions)
}

const KFUNC: fn(i32, i16) -> Insn = |id, module| Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, module, id);

#[test]
fn member_that_cannot_be_inlined_gets_required_way() {
    let options = SpliceOptions { throwing_kfuncs: &[77], deferring_kfuncs: &[78], ..TCX };
    let by_table = Insn::new(0x0d, 3, 0, 0, 0);
    let table = [
        (helper(12), function(NotInlinedReason::TailCall { at: 0 })),
        (Insn::new(0x30, 0, 0, 0, 12), function(NotInlinedReason::OldPacketLoad { at: 0 })),
        (Insn::new(0x50, 0, 3, 0, 12), function(NotInlinedReason::OldPacketLoad { at: 0 })),
        (Insn::new(op::JCOND, 0, 0, 0, 0), function(NotInlinedReason::SharedLoopBudget { at: 0 })),
        (helper(169), own(NotInlinedReason::DeferredWork { at: 0 })),
        (helper(170), own(NotInlinedReason::DeferredWork { at: 0 })),
        (helper(171), own(NotInlinedReason::DeferredWork { at: 0 })),
        (KFUNC(77, 0), own(NotInlinedReason::Throws { at: 0 })),
        (KFUNC(78, 0), own(NotInlinedReason::DeferredWork { at: 0 })),
        (KFUNC(79, 1), own(NotInlinedReason::UnboundReference { at: 0 })),
        (by_table, own(NotInlinedReason::IndirectJump { at: 0 })),
        (KFUNC(79, 0), MemberPlan::INLINE),
        (helper(7), MemberPlan::INLINE),
    ];
    for (insn, expected) in table {
        assert_eq!(between(member(&in_entry(insn)), &options), expected, "{insn:?}");
    }
}

#[test]
fn below_a_call_a_loop_is_harmless_and_a_hidden_exit_is_not() {
    let below = |insn| program(&[&[local_call(1), EXIT], &[insn, set_r0(2), EXIT]]);
    let may_goto = below(Insn::new(op::JCOND, 0, 0, 0, 0));
    assert_eq!(between(member(&may_goto), &TCX), MemberPlan::INLINE);
    for insn in [helper(12), Insn::new(0x30, 0, 0, 0, 12)] {
        let text = below(insn);
        assert_eq!(
            between(member(&text), &TCX),
            function(NotInlinedReason::HiddenExit { at: 2 }),
            "{insn:?}"
        );
        // The verdict of the last member is not checked.
        let plain = pass();
        let clsact = SpliceOptions { hook: SpliceHook::TcClsact, ..TCX };
        let last = Member { proceed_on: ProceedMask(1), ..member(&text) };
        let planned = plan(&[member(&plain), last], &clsact).unwrap();
        assert_eq!(planned.members[1], MemberPlan::INLINE);
    }
    let options = SpliceOptions { throwing_kfuncs: &[77], ..XDP };
    assert_eq!(between(member(&below(KFUNC(77, 0))), &options).way, JoinMode::Standalone);
}

#[test]
fn an_exception_callback_stays_with_its_program() {
    let text = program(&[&[local_call(1), EXIT], &[set_r0(2), EXIT], &[set_r0(1), EXIT]]);
    assert_eq!(between(member(&text), &XDP), own(NotInlinedReason::CatchesExceptions { at: 4 }));
}

#[test]
fn members_report_why_they_stay_separate() {
    let text = pass();
    let plain = member(&text);
    let own_btf = own(NotInlinedReason::NeedsOwnBtf);
    assert_eq!(between(Member { isolated: true, ..plain }, &XDP), own(NotInlinedReason::Isolated));
    assert_eq!(between(Member { needs_own_btf: true, ..plain }, &XDP), own_btf);
    assert_eq!(between(Member { local_type_ids: &[0], ..plain }, &XDP), own_btf, "it has no BTF to move");
    let mut typed = pass();
    typed.0.btf = Some(std::sync::Arc::from([]));
    assert_eq!(between(Member { local_type_ids: &[0], ..member(&typed) }, &XDP), MemberPlan::INLINE);
}

#[test]
fn program_unfit_for_chains_is_refused() {
    let refusal = |subject: Member<'_>| match plan(&[subject], &XDP) {
        Err(SpliceError::Refused { member, reason }) => {
            assert_eq!(member.position, 1);
            assert!(!reason.hint().is_empty());
            reason
        }
        other => panic!("{other:?}"),
    };
    let text = pass();
    let mut sleepable = pass();
    sleepable.0.sleepable = true;
    assert_eq!(refusal(member(&sleepable)), Refusal::Sleepable);
    assert_eq!(refusal(Member { for_map: true, ..member(&text) }), Refusal::ForMap);
}

#[test]
fn single_member_with_final_verdict_is_direct_unless_counted() {
    let text = pass();
    let strategy = |set, options: &SpliceOptions<'_>| {
        let plan = plan(&[Member { proceed_on: set, ..member(&text) }], options).unwrap();
        assert_eq!(plan.segments.is_empty(), plan.strategy == ChainStrategy::Direct);
        plan.strategy
    };
    assert_eq!(strategy(PASS, &XDP), ChainStrategy::Direct);
    assert_eq!(strategy(ProceedMask(1 << 1), &XDP), ChainStrategy::Splice);
    assert_eq!(strategy(PASS, &TCX), ChainStrategy::Splice);
    assert_eq!(strategy(PASS, &SpliceOptions { counters: true, ..XDP }), ChainStrategy::Splice);
    assert_eq!(strategy(PASS, &SpliceOptions { timing: true, ..XDP }), ChainStrategy::Splice);
    let ends = Member { proceed_on: ProceedMask(0), ..member(&text) };
    let plan = plan(&[ends, member(&text)], &XDP).unwrap();
    assert_eq!((plan.strategy, plan.members.len(), plan.unreached), (ChainStrategy::Direct, 1, 1));
}

#[test]
fn last_member_with_tail_call_is_inlined_if_verdict_is_final() {
    let (plain, caller) = (pass(), in_entry(helper(12)));
    let last = |set, options: &SpliceOptions<'_>| {
        let members = [member(&plain), Member { proceed_on: set, ..member(&caller) }];
        plan(&members, options).unwrap().members[1].way
    };
    assert_eq!(last(PASS, &XDP), JoinMode::Inline);
    assert_eq!(last(ProceedMask(1 << 1 | 1 << 2), &XDP), JoinMode::Function);
    assert_eq!(last(ProceedMask(1), &SpliceOptions::new(SpliceHook::TcClsact)), JoinMode::Inline);
    assert_eq!(last(ProceedMask(1), &TCX), JoinMode::Function, "its verdict has to be translated");
    assert_eq!(last(PASS, &SpliceOptions { counters: true, ..XDP }), JoinMode::Function, "and counted");
}

#[test]
fn no_tail_call_follows_a_member_of_unknown_depth() {
    let (plain, caller, timer) = (pass(), in_entry(helper(12)), in_entry(helper(169)));
    assert!(chain(&[&plain, &timer, &caller, &plain], &XDP).is_ok());
    let early = chain(&[&plain, &caller, &plain, &timer], &XDP);
    let Err(SpliceError::TailCallerTooEarly { member: caller_name, later, reason }) = &early else {
        panic!("{early:?}")
    };
    assert_eq!((caller_name.position, later.position), (2, 4));
    assert!(reason.contains("timers"), "{reason}");
    let mut other_licence = pass();
    other_licence.0.license = "Proprietary".to_owned();
    let cut = chain(&[&caller, &other_licence], &XDP);
    assert!(matches!(&cut, Err(SpliceError::TailCallerTooEarly { .. })), "{cut:?}");
    let two = chain(&[&caller, &plain, &caller], &XDP);
    let Err(SpliceError::TwoTailCallers { first, second }) = &two else { panic!("{two:?}") };
    assert_eq!((first.position, second.position), (1, 3));
    let opaque = Member { isolated: true, opaque: true, ..member(&plain) };
    assert!(plan(&[member(&plain), opaque, member(&plain)], &XDP).is_ok());
    let isolated = Member { isolated: true, ..member(&plain) };
    let behind = plan(&[opaque, isolated], &XDP);
    assert!(matches!(&behind, Err(SpliceError::TailCallerTooEarly { .. })), "{behind:?}");
    for refused in [early, cut, two] {
        assert!(!refused.unwrap_err().hint().is_empty());
    }
}

#[test]
fn member_eight_calls_deep_is_inlined_or_stays_separate() {
    assert_eq!(between(member(&deep(8)), &XDP), MemberPlan::INLINE);
    let all = SpliceOptions { attempt: Attempt::AllFunctions, ..XDP };
    assert_eq!(between(member(&deep(8)), &all), MemberPlan::INLINE);
    assert_eq!(between(member(&deep(7)), &all).way, JoinMode::Function);
    let mut loads = deep(8);
    loads.0.insns[1] = Insn::new(0x30, 0, 0, 0, 12);
    loads.0.insns[2] = EXIT;
    let mut functions = vec![[local_call(2), Insn::new(0x30, 0, 0, 0, 12), EXIT].to_vec()];
    functions.extend((2..8).map(|_| vec![local_call(1), EXIT]));
    functions.push(vec![set_r0(2), EXIT]);
    let functions: Vec<&[Insn]> = functions.iter().map(Vec::as_slice).collect();
    assert_eq!(between(member(&program(&functions)), &TCX), own(NotInlinedReason::DeepCalls));
}

#[test]
fn device_bound_chains_have_no_tail_calls() {
    let text = pass();
    let bound = Member { device_bound: true, ..member(&text) };
    let together = plan(&[member(&text), bound], &XDP).unwrap();
    assert!(together.device_bound);
    let refused = plan(&[Member { isolated: true, ..member(&text) }, bound], &XDP);
    let Err(SpliceError::DeviceBound { member, plan }) = &refused else { panic!("{refused:?}") };
    assert_eq!(member.position, 2);
    assert!(plan.contains("isolated"), "{plan}");
}

#[test]
fn programs_that_share_an_array_agree_about_frags() {
    let (plain, mut frags) = (pass(), pass());
    frags.0.frags = true;
    let lenient = SpliceOptions { frags: FragsRule::OnlyIfAll, ..XDP };
    assert!(!chain(&[&plain, &frags], &lenient).unwrap().frags);
    assert!(chain(&[&frags, &frags], &XDP).unwrap().frags);
    let isolated = Member { isolated: true, ..member(&frags) };
    let refused = plan(&[member(&plain), isolated], &lenient);
    let Err(SpliceError::FragsDisagree { with, without }) = &refused else { panic!("{refused:?}") };
    assert_eq!((with.position, without.position), (2, 1));
}

#[test]
fn each_step_back_keeps_less_together() {
    let text = pass();
    let planned = |attempt| chain(&[&text; 3], &SpliceOptions { attempt, ..XDP }).unwrap();
    let mut attempt = Attempt::First;
    let mut seen = Vec::new();
    loop {
        let plan = planned(attempt);
        seen.push((plan.strategy, ways(&plan)[1], plan.segments.len(), plan.arrays.len()));
        assert_eq!(plan.reason().contains("fallback"), attempt != Attempt::First, "{}", plan.reason());
        match attempt.next() {
            Some(next) => attempt = next,
            None => break,
        }
    }
    let expected = [
        (ChainStrategy::Splice, JoinMode::Inline, 1, 0),
        (ChainStrategy::Splice, JoinMode::Function, 1, 0),
        (ChainStrategy::Cut, JoinMode::Inline, 3, 2),
        (ChainStrategy::Splice, JoinMode::Standalone, 1, 3),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn members_are_functions_with_option_for_tracing() {
    let text = pass();
    let options = SpliceOptions { as_subprograms: true, ..XDP };
    assert_eq!(between(member(&text), &options), function(NotInlinedReason::AsSubprograms));
    let isolated = Member { isolated: true, ..member(&text) };
    assert_eq!(between(isolated, &options), own(NotInlinedReason::Isolated));
}

#[test]
fn a_plan_says_why() {
    let (gpl, mut other) = (pass(), pass());
    other.0.license = "Proprietary".to_owned();
    let timer = in_entry(helper(169));
    let ends = Member { proceed_on: ProceedMask(0), ..member(&other) };
    let plan = plan(&[member(&gpl), member(&timer), ends, member(&gpl)], &XDP).unwrap();
    let expected = "cut: 3 members in 2 programs\n\
        program 2 begins at member 3: GPL-compatible programs and others are not put into one\n\
        member 2 runs as its own program: it starts timers, work queues or task work (instruction 0), which would keep \
        replaced chains alive\n\
        the last 1 never run: member 3 ends the chain with every verdict";
    assert_eq!(plan.reason(), expected);
}

#[path = "planner_limits_tests.rs"]
mod limits;
#[path = "planner_properties_tests.rs"]
mod properties;

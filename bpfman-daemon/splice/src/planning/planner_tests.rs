use super::*;
use crate::chain::hook::SpliceHook;
use crate::chain::member::Owner;
use crate::chain::options::FrameRounding;
use crate::chain::plan::CutReason;
use crate::chain::proceed::ProceedMask;
use crate::error::SpliceError;
use crate::error::refusal::Refusal;
use crate::text::testing::{EXIT, copy, helper, local_call, program, set_r0, store};
use bpfmand_core::{BoundText, Insn, MapId, op};

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

fn ways(plan: &ChainPlan) -> Vec<Way> {
    plan.members.iter().map(|member| member.way).collect()
}

fn starts(plan: &ChainPlan) -> Vec<usize> {
    plan.segments.iter().map(|segment| segment.members.start).collect()
}

/// The plan of a member between two others that only pass.
fn between(subject: Member<'_>, options: &SpliceOptions<'_>) -> MemberPlan {
    let pass = pass();
    plan(&[member(&pass), subject, member(&pass)], options).unwrap().members[1].clone()
}

fn function(reason: WayReason) -> MemberPlan {
    MemberPlan { way: Way::Function, reason: Some(reason) }
}

fn own(reason: WayReason) -> MemberPlan {
    MemberPlan { way: Way::Standalone, reason: Some(reason) }
}

/// So many functions deep, each calling the next.
fn deep(depth: usize) -> BoundText {
    let call = [local_call(1), EXIT];
    let leaf = [set_r0(2), EXIT];
    let functions: Vec<&[Insn]> =
        (1..=depth).map(|number| if number < depth { &call[..] } else { &leaf[..] }).collect();
    program(&functions)
}

const KFUNC: fn(i32, i16) -> Insn = |id, module| Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, module, id);

#[test]
fn what_cannot_be_inlined_gets_the_way_that_it_needs() {
    let options = SpliceOptions { throwing_kfuncs: &[77], deferring_kfuncs: &[78], ..TCX };
    let by_table = Insn::new(0x0d, 3, 0, 0, 0);
    let table = [
        (helper(12), function(WayReason::TailCall { at: 0 })),
        (Insn::new(0x30, 0, 0, 0, 12), function(WayReason::OldPacketLoad { at: 0 })),
        (Insn::new(0x50, 0, 3, 0, 12), function(WayReason::OldPacketLoad { at: 0 })),
        (Insn::new(op::JCOND, 0, 0, 0, 0), function(WayReason::SharedLoopBudget { at: 0 })),
        (helper(169), own(WayReason::DeferredWork { at: 0 })),
        (helper(170), own(WayReason::DeferredWork { at: 0 })),
        (helper(171), own(WayReason::DeferredWork { at: 0 })),
        (KFUNC(77, 0), own(WayReason::Throws { at: 0 })),
        (KFUNC(78, 0), own(WayReason::DeferredWork { at: 0 })),
        (KFUNC(79, 1), own(WayReason::UnboundReference { at: 0 })),
        (by_table, own(WayReason::IndirectJump { at: 0 })),
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
        assert_eq!(between(member(&text), &TCX), function(WayReason::HiddenExit { at: 2 }), "{insn:?}");
        // At the end, where nothing looks at the verdict, it does no harm.
        let plain = pass();
        let clsact = SpliceOptions { hook: SpliceHook::TcClsact, ..TCX };
        let last = Member { proceed_on: ProceedMask(1), ..member(&text) };
        let planned = plan(&[member(&plain), last], &clsact).unwrap();
        assert_eq!(planned.members[1], MemberPlan::INLINE);
    }
    // An exception unwinds from anywhere, and a timer runs from anywhere.
    let options = SpliceOptions { throwing_kfuncs: &[77], ..XDP };
    assert_eq!(between(member(&below(KFUNC(77, 0))), &options).way, Way::Standalone);
}

#[test]
fn an_exception_callback_stays_with_its_program() {
    let text = program(&[&[local_call(1), EXIT], &[set_r0(2), EXIT], &[set_r0(1), EXIT]]);
    assert_eq!(between(member(&text), &XDP), own(WayReason::CatchesExceptions { at: 4 }));
}

#[test]
fn members_say_what_ties_them_to_themselves() {
    let text = pass();
    let plain = member(&text);
    let own_btf = own(WayReason::NeedsOwnBtf);
    assert_eq!(between(Member { isolated: true, ..plain }, &XDP), own(WayReason::Isolated));
    assert_eq!(between(Member { needs_own_btf: true, ..plain }, &XDP), own_btf);
    assert_eq!(between(Member { local_type_ids: &[0], ..plain }, &XDP), own_btf, "it has no BTF to move");
    let mut typed = pass();
    typed.0.btf = Some(std::sync::Arc::from([]));
    assert_eq!(between(Member { local_type_ids: &[0], ..member(&typed) }, &XDP), MemberPlan::INLINE);
}

#[test]
fn what_no_chain_can_run_is_refused() {
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
fn one_member_whose_verdict_stands_is_direct_unless_packets_are_to_be_counted_or_timed() {
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
    // A second one that is never reached changes nothing.
    let ends = Member { proceed_on: ProceedMask(0), ..member(&text) };
    let plan = plan(&[ends, member(&text)], &XDP).unwrap();
    assert_eq!((plan.strategy, plan.members.len(), plan.unreached), (ChainStrategy::Direct, 1, 1));
}

#[test]
fn the_last_member_is_inlined_though_it_tail_calls_where_its_verdict_is_the_chains() {
    let (plain, caller) = (pass(), in_entry(helper(12)));
    let last = |set, options: &SpliceOptions<'_>| {
        let members = [member(&plain), Member { proceed_on: set, ..member(&caller) }];
        plan(&members, options).unwrap().members[1].way
    };
    assert_eq!(last(PASS, &XDP), Way::Inline);
    assert_eq!(last(ProceedMask(1 << 1 | 1 << 2), &XDP), Way::Function);
    assert_eq!(last(ProceedMask(1), &SpliceOptions::new(SpliceHook::TcClsact)), Way::Inline);
    assert_eq!(last(ProceedMask(1), &TCX), Way::Function, "its verdict has to be translated");
    assert_eq!(last(PASS, &SpliceOptions { counters: true, ..XDP }), Way::Function, "and counted");
}

#[test]
fn nothing_that_needs_a_tail_call_comes_behind_a_member_of_unknown_depth() {
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
    // What a program of others does is as unknown.
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
fn a_tail_call_below_a_large_frame_moves_that_frame_behind_a_call() {
    let big = program(&[&[store(-256), set_r0(2), EXIT]]);
    let below = program(&[&[local_call(1), EXIT], &[helper(12), set_r0(2), EXIT]]);
    let planned = chain(&[&big, &below], &XDP).unwrap();
    assert_eq!(planned.members[0], function(WayReason::DeepStack { frame: 256 }));
    assert_eq!(planned.members[1], MemberPlan::INLINE);
    // A member in its own program is reached by a tail call in a function: the same.
    let timer = in_entry(helper(169));
    assert_eq!(ways(&chain(&[&big, &timer], &XDP).unwrap()), [Way::Function, Way::Standalone]);
    // With the context in a register, 240 bytes are 240; 248 are 256: the kernel counts whole steps of 16.
    let fits = program(&[&[store(-240), set_r0(2), EXIT]]);
    assert_eq!(ways(&chain(&[&fits, &timer], &XDP).unwrap()), [Way::Inline, Way::Standalone]);
    let not_quite = program(&[&[store(-248), set_r0(2), EXIT]]);
    assert_eq!(ways(&chain(&[&not_quite, &timer], &XDP).unwrap()), [Way::Function, Way::Standalone]);
}

#[test]
fn frames_that_do_not_fit_together_go_behind_calls_or_into_another_program() {
    let frame = program(&[&[store(-400), set_r0(2), EXIT]]);
    let calls = |bytes: i16| program(&[&[local_call(1), EXIT], &[store(-bytes), set_r0(2), EXIT]]);
    assert_eq!(ways(&chain(&[&frame, &calls(96)], &XDP).unwrap()), [Way::Inline, Way::Inline]);
    // With the context in a register, 400 and 112 are 512.
    assert_eq!(ways(&chain(&[&frame, &calls(112)], &XDP).unwrap()), [Way::Inline, Way::Inline]);
    let moved = chain(&[&frame, &calls(120)], &XDP).unwrap();
    assert_eq!(moved.members[0], function(WayReason::DeepStack { frame: 400 }));
    assert_eq!((moved.members[1].way, moved.segments.len()), (Way::Inline, 1));
    // A large frame that calls deeply itself fits beside nothing else that is large.
    let both = program(&[&[store(-300), local_call(1), EXIT], &[store(-208), set_r0(2), EXIT]]);
    let other = program(&[&[store(-200), local_call(1), EXIT], &[store(-304), set_r0(2), EXIT]]);
    let cut = chain(&[&both, &other], &SpliceOptions { rounding: FrameRounding::To32, ..XDP }).unwrap();
    assert!(cut.segments.len() == 2 || ways(&cut).contains(&Way::Standalone), "{}", cut.reason());
}

#[test]
fn a_full_frame_leaves_the_context_somewhere() {
    let full = program(&[&[store(-512), set_r0(2), EXIT]]);
    let small = pass();
    // A register is free; or nothing comes behind.
    assert_eq!(ways(&chain(&[&full, &small], &XDP).unwrap()), [Way::Inline, Way::Inline]);
    let greedy = [copy(6, 1), copy(7, 1), copy(8, 1), copy(9, 1), store(-512), set_r0(2), EXIT];
    let greedy = program(&[&greedy]);
    assert_eq!(ways(&chain(&[&small, &greedy], &XDP).unwrap()), [Way::Inline, Way::Inline]);
    // Behind a call, the context in a register, the common frame empty: not with the rounding of 6.1.
    assert_eq!(ways(&chain(&[&greedy, &small], &XDP).unwrap()), [Way::Function, Way::Inline]);
    let to32 = SpliceOptions { rounding: FrameRounding::To32, ..XDP };
    let planned = chain(&[&greedy, &small], &to32).unwrap();
    assert_eq!(planned.members[0], own(WayReason::LeavesNoRoom));
    // Counting needs the context at the end.
    let counted = SpliceOptions { counters: true, ..XDP };
    assert_eq!(ways(&chain(&[&small, &greedy], &counted).unwrap()), [Way::Inline, Way::Standalone]);
    assert_eq!(ways(&chain(&[&small, &full], &counted).unwrap()), [Way::Inline, Way::Inline]);
}

#[test]
fn a_member_eight_calls_deep_is_inlined_or_stays_its_own_program() {
    assert_eq!(between(member(&deep(8)), &XDP), MemberPlan::INLINE);
    let all = SpliceOptions { attempt: Attempt::AllFunctions, ..XDP };
    assert_eq!(between(member(&deep(8)), &all), MemberPlan::INLINE);
    assert_eq!(between(member(&deep(7)), &all).way, Way::Function);
    let mut loads = deep(8);
    loads.0.insns[1] = Insn::new(0x30, 0, 0, 0, 12);
    loads.0.insns[2] = EXIT;
    let mut functions = vec![[local_call(2), Insn::new(0x30, 0, 0, 0, 12), EXIT].to_vec()];
    functions.extend((2..8).map(|_| vec![local_call(1), EXIT]));
    functions.push(vec![set_r0(2), EXIT]);
    let functions: Vec<&[Insn]> = functions.iter().map(Vec::as_slice).collect();
    assert_eq!(between(member(&program(&functions)), &TCX), own(WayReason::DeepCalls));
}

#[test]
fn licences_are_not_mixed_in_one_program() {
    let (gpl, mut other) = (pass(), pass());
    other.0.license = "Proprietary".to_owned();
    let planned = chain(&[&gpl, &gpl, &other, &gpl], &XDP).unwrap();
    assert_eq!(starts(&planned), [0, 2, 3]);
    assert_eq!(planned.segments[1].reason, Some(CutReason::Licence));
    assert_eq!(planned.arrays, [ArrayUse::Segment(1), ArrayUse::Segment(2)]);
    // A member in its own program keeps its own licence.
    let isolated = Member { isolated: true, ..member(&other) };
    let planned = plan(&[member(&gpl), isolated, member(&gpl)], &XDP).unwrap();
    assert_eq!((starts(&planned), &planned.arrays[..]), (vec![0], &[ArrayUse::Member(1)][..]));
}

#[test]
fn heavy_members_are_cut_apart_but_never_split() {
    let text = pass();
    let heavy = |insns, owner| Member { verified_insns: Some(insns), owner: Owner(owner), ..member(&text) };
    let planned = |members: &[Member<'_>]| {
        let plan = plan(members, &XDP).unwrap();
        (starts(&plan), plan.segments.iter().map(|segment| segment.at_owner).collect::<Vec<_>>())
    };
    assert_eq!(planned(&[heavy(400_000, 0), heavy(400_000, 0)]).0, [0]);
    assert_eq!(planned(&[heavy(400_000, 0), heavy(400_001, 0)]).0, [0, 1]);
    assert_eq!(planned(&[heavy(900_000, 0), heavy(900_000, 0)]).0, [0, 1]);
    // The owner of the last two pays for what they do not share a program with.
    let owners = [heavy(300_000, 1), heavy(300_000, 2), heavy(300_000, 2)];
    assert_eq!(planned(&owners), (vec![0, 1], vec![false, true]));
    let one_owner = [heavy(300_000, 1), heavy(300_000, 1), heavy(300_000, 1)];
    assert_eq!(planned(&one_owner), (vec![0, 2], vec![false, false]));
    let at_the_limit = [heavy(300_000, 1), heavy(300_000, 1), heavy(300_000, 2)];
    assert_eq!(planned(&at_the_limit), (vec![0, 2], vec![false, false]), "it is the boundary already");
}

fn with_maps(from: u32, to: u32) -> BoundText {
    let mut insns = Vec::new();
    for id in from..to {
        insns.extend([Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_FD, 0, id as i32), Insn::default()]);
    }
    insns.extend([set_r0(2), EXIT]);
    program(&[&insns])
}

#[test]
fn maps_arenas_and_instructions_of_one_program_are_limited() {
    let reason = |texts: &[&BoundText], options: &SpliceOptions<'_>| {
        chain(texts, options).unwrap().segments.get(1).and_then(|segment| segment.reason.clone())
    };
    assert_eq!(reason(&[&with_maps(0, 40), &with_maps(20, 64)], &XDP), None);
    let maps = Some(CutReason::Maps { maps: 65 });
    assert_eq!(reason(&[&with_maps(0, 40), &with_maps(30, 65)], &XDP), maps);
    let counted = SpliceOptions { counters: true, ..XDP };
    assert_eq!(reason(&[&with_maps(0, 40), &with_maps(20, 64)], &counted), maps, "counters are a map too");
    // A member with 64 maps has no room for the array that leads on.
    let planned = chain(&[&with_maps(0, 64), &with_maps(64, 65)], &XDP).unwrap();
    assert_eq!(ways(&planned), [Way::Standalone, Way::Inline], "{}", planned.reason());
    let arenas = SpliceOptions { arenas: &[MapId(3), MapId(70)], ..XDP };
    assert_eq!(reason(&[&with_maps(3, 4), &with_maps(70, 71)], &arenas), Some(CutReason::Arenas));
    assert_eq!(reason(&[&with_maps(3, 4), &with_maps(3, 4)], &arenas), None);
    let long = program(&[&[vec![set_r0(2); 600_000], vec![EXIT]].concat()]);
    let free = SpliceOptions { verified_limit: u64::MAX, ja32: true, ..XDP };
    assert!(matches!(reason(&[&long, &long], &free), Some(CutReason::Insns { .. })));
}

#[test]
fn the_first_tc_member_that_writes_comes_behind_a_cut_if_readers_come_first() {
    let load_data = Insn::new(0x61, 2, 1, 76, 0);
    let writer = program(&[&[load_data, Insn::new(0x72, 2, 0, 0, 7), set_r0(2), EXIT]]);
    let reader = program(&[&[load_data, Insn::new(0x71, 0, 2, 0, 0), EXIT]]);
    let starts_of = |texts: &[&BoundText], options| starts(&chain(texts, options).unwrap());
    assert_eq!(starts_of(&[&reader, &reader, &writer, &writer, &reader], &TCX), [0, 2]);
    assert_eq!(starts_of(&[&writer, &reader, &writer], &TCX), [0]);
    assert_eq!(starts_of(&[&reader, &writer], &SpliceOptions { tc_writers_behind_cut: false, ..TCX }), [0]);
    assert_eq!(starts_of(&[&reader, &writer], &XDP), [0], "XDP packets are not shared");
    let planned = chain(&[&reader, &writer], &TCX).unwrap();
    assert_eq!(planned.segments[1].reason, Some(CutReason::Writer));
    // A cut is not worth a risk.
    let caller = in_entry(helper(12));
    assert_eq!(starts_of(&[&caller, &writer], &TCX), [0]);
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
        (ChainStrategy::Splice, Way::Inline, 1, 0),
        (ChainStrategy::Splice, Way::Function, 1, 0),
        (ChainStrategy::Cut, Way::Inline, 3, 2),
        (ChainStrategy::Splice, Way::Standalone, 1, 3),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_longest_chain_of_own_programs_fits_the_budget_of_tail_calls() {
    let text = pass();
    for attempt in [Attempt::CutEach, Attempt::AllStandalone] {
        let plan = chain(&[&text; MAX_MEMBERS], &SpliceOptions { attempt, ..XDP }).unwrap();
        assert!(plan.arrays.len() <= crate::MAX_TAIL_CALLS);
    }
    // Own programs and licences in turn take more.
    let mut other = pass();
    other.0.license = "Proprietary".to_owned();
    let timer = in_entry(helper(169));
    let mixed = |length| {
        let pattern = [&text, &timer, &other, &timer];
        let texts: Vec<&BoundText> = (0..length).map(|at| pattern[at % 4]).collect();
        chain(&texts, &XDP)
    };
    assert!(mixed(32).is_ok());
    let isolated: Vec<Member<'_>> = (0..32)
        .map(|at| Member { isolated: at % 2 == 1, ..member(if at % 4 < 2 { &text } else { &other }) })
        .collect();
    assert_eq!(plan(&isolated, &XDP).unwrap().arrays.len(), 31);
}

#[test]
fn every_member_is_a_function_for_those_who_trace() {
    let text = pass();
    let options = SpliceOptions { as_subprograms: true, ..XDP };
    assert_eq!(between(member(&text), &options), function(WayReason::AsSubprograms));
    let isolated = Member { isolated: true, ..member(&text) };
    assert_eq!(between(isolated, &options), own(WayReason::Isolated));
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

#[test]
fn a_move_that_did_not_help_is_taken_back() {
    let long = |len: usize| program(&[&[vec![set_r0(2); len], vec![EXIT]].concat()]);
    // Jumps to the end go over all but the first member: moving the longest, which is first, is of no use.
    let planned = chain(&[&long(25_000), &long(20_000), &long(15_000)], &XDP).unwrap();
    assert_eq!(planned.members[1], function(WayReason::TooLong { insns: 20_001 }));
    assert_eq!(ways(&planned), [Way::Inline, Way::Function, Way::Inline]);
}

mod properties {
    use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    /// A program, its set, owner and weight, and whether it is isolated.
    type Drawn = (BoundText, u32, u32, u32, bool);

    fn drawn() -> impl Strategy<Value = Drawn> {
        let insn = prop_oneof![
            10 => Just(helper(7)),
            1 => Just(helper(12)),
            1 => Just(helper(169)),
            1 => Just(Insn::new(0x30, 0, 0, 0, 12)),
        ];
        let licence = prop_oneof![6 => Just("GPL"), 1 => Just("Proprietary")];
        let depth = prop_oneof![3 => 0i16..16, 1 => 0i16..65];
        let weight = prop_oneof![4 => 0u32..1000, 1 => 0u32..900_000];
        let isolated = proptest::bool::weighted(0.05);
        (insn, licence, (depth.clone(), depth), 1u32.., 0u32..3, weight, isolated).prop_map(
            |(insn, licence, (frame, below), set, owner, weight, isolated)| {
                // Frames of one program fit its own stack.
                let (frame, below) = (frame.min(30), below.min(30));
                let slot = |depth: i16| if depth > 0 { store(-8 * depth) } else { helper(7) };
                let mut text =
                    program(&[&[insn, slot(frame), local_call(1), EXIT], &[slot(below), set_r0(2), EXIT]]);
                text.0.license = licence.to_owned();
                (text, set, owner, weight, isolated)
            },
        )
    }

    proptest! {
        #[test]
        fn plans_keep_every_rule(
            drawn in proptest::collection::vec(drawn(), 1..=MAX_MEMBERS),
            to16: bool,
            counters: bool,
            timing: bool,
        ) {
            let rounding = if to16 { FrameRounding::To16 } else { FrameRounding::To32 };
            let options = SpliceOptions { rounding, counters, timing, ..TCX };
            let members: Vec<Member<'_>> = drawn
                .iter()
                .map(|(text, set, owner, weight, isolated)| Member {
                    owner: Owner(*owner),
                    verified_insns: Some(*weight),
                    isolated: *isolated,
                    ..Member::new("a.o", text, ProceedMask(*set))
                })
                .collect();
            let tail_calls = |member: usize| drawn[member].0.0.insns[0] == helper(12);
            let plan = match plan(&members, &options) {
                Ok(plan) => plan,
                Err(SpliceError::TwoTailCallers { first, second }) => {
                    prop_assert!(tail_calls(first.position - 1) && tail_calls(second.position - 1));
                    return Ok(());
                }
                Err(SpliceError::TailCallerTooEarly { member, later, .. }) => {
                    prop_assert!(tail_calls(member.position - 1) && member.position < later.position);
                    return Ok(());
                }
                Err(other) => panic!("{other}"),
            };
            let own = |member: &usize| plan.members[*member].way == Way::Standalone;
            let reaches = plan.arrays.iter().filter(|used| !matches!(used, ArrayUse::Twin(1..))).count();
            prop_assert!(reaches <= crate::MAX_TAIL_CALLS);
            // What tail-calls is the last that does.
            let caller = (0..members.len()).find(|member| tail_calls(*member));
            for used in &plan.arrays {
                let reached = match used {
                    ArrayUse::Segment(number) => plan.segments[*number].members.start,
                    ArrayUse::Member(member) => *member,
                    ArrayUse::Twin(_) => continue,
                };
                prop_assert!(caller.is_none_or(|caller| reached <= caller));
            }
            for (number, segment) in plan.segments.iter().enumerate() {
                prop_assert_eq!(segment.reason.is_some(), number > 0);
                let joined: Vec<usize> = segment.members.clone().filter(|member| !own(member)).collect();
                let licences = joined.iter().map(|member| &drawn[*member].0.0.license);
                prop_assert!(licences.collect::<std::collections::BTreeSet<_>>().len() <= 1);
                let weight: u64 = joined.iter().map(|member| u64::from(drawn[*member].3)).sum();
                prop_assert!(joined.len() <= 1 || weight <= options.verified_limit);
            }
            // Every way that is not the cheapest has its reason.
            for member in &plan.members {
                prop_assert_eq!(member.reason.is_none(), member.way == Way::Inline);
            }
        }
    }
}

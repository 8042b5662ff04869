use super::*;

#[test]
fn tail_call_below_a_large_frame_moves_the_frame_behind_a_call() {
    let big = program(&[&[store(-256), set_r0(2), EXIT]]);
    let below = program(&[&[local_call(1), EXIT], &[helper(12), set_r0(2), EXIT]]);
    let planned = chain(&[&big, &below], &XDP).unwrap();
    assert_eq!(planned.members[0], function(NotInlinedReason::DeepStack { frame: 256 }));
    assert_eq!(planned.members[1], MemberPlan::INLINE);
    // A member in its own program is reached by a tail call in a function: the same limit applies.
    let timer = in_entry(helper(169));
    assert_eq!(ways(&chain(&[&big, &timer], &XDP).unwrap()), [JoinMode::Function, JoinMode::Standalone]);
    // With the context in a register, 248 are 256: the kernel counts whole steps of 16.
    let fits = program(&[&[store(-240), set_r0(2), EXIT]]);
    assert_eq!(ways(&chain(&[&fits, &timer], &XDP).unwrap()), [JoinMode::Inline, JoinMode::Standalone]);
    let not_quite = program(&[&[store(-248), set_r0(2), EXIT]]);
    assert_eq!(
        ways(&chain(&[&not_quite, &timer], &XDP).unwrap()),
        [JoinMode::Function, JoinMode::Standalone]
    );
}

#[test]
fn frames_that_do_not_fit_go_behind_calls_or_another_program() {
    let frame = program(&[&[store(-400), set_r0(2), EXIT]]);
    let calls = |bytes: i16| program(&[&[local_call(1), EXIT], &[store(-bytes), set_r0(2), EXIT]]);
    assert_eq!(ways(&chain(&[&frame, &calls(96)], &XDP).unwrap()), [JoinMode::Inline, JoinMode::Inline]);
    assert_eq!(ways(&chain(&[&frame, &calls(112)], &XDP).unwrap()), [JoinMode::Inline, JoinMode::Inline]);
    let moved = chain(&[&frame, &calls(120)], &XDP).unwrap();
    assert_eq!(moved.members[0], function(NotInlinedReason::DeepStack { frame: 400 }));
    assert_eq!((moved.members[1].way, moved.segments.len()), (JoinMode::Inline, 1));
    let both = program(&[&[store(-300), local_call(1), EXIT], &[store(-208), set_r0(2), EXIT]]);
    let other = program(&[&[store(-200), local_call(1), EXIT], &[store(-304), set_r0(2), EXIT]]);
    let cut = chain(&[&both, &other], &SpliceOptions { rounding: FrameRounding::To32, ..XDP }).unwrap();
    assert!(cut.segments.len() == 2 || ways(&cut).contains(&JoinMode::Standalone), "{}", cut.reason());
}

#[test]
fn a_full_frame_leaves_the_context_somewhere() {
    let full = program(&[&[store(-512), set_r0(2), EXIT]]);
    let small = pass();
    // Either a register is free, or no member follows.
    assert_eq!(ways(&chain(&[&full, &small], &XDP).unwrap()), [JoinMode::Inline, JoinMode::Inline]);
    let greedy = [copy(6, 1), copy(7, 1), copy(8, 1), copy(9, 1), store(-512), set_r0(2), EXIT];
    let greedy = program(&[&greedy]);
    assert_eq!(ways(&chain(&[&small, &greedy], &XDP).unwrap()), [JoinMode::Inline, JoinMode::Inline]);
    // Behind a call, with the context in a register and an empty common frame; not with the rounding of Linux 6.1.
    assert_eq!(ways(&chain(&[&greedy, &small], &XDP).unwrap()), [JoinMode::Function, JoinMode::Inline]);
    let to32 = SpliceOptions { rounding: FrameRounding::To32, ..XDP };
    let planned = chain(&[&greedy, &small], &to32).unwrap();
    assert_eq!(planned.members[0], own(NotInlinedReason::LeavesNoRoom));
    // Counting needs the context at the end.
    let counted = SpliceOptions { counters: true, ..XDP };
    assert_eq!(ways(&chain(&[&small, &greedy], &counted).unwrap()), [JoinMode::Inline, JoinMode::Standalone]);
    assert_eq!(ways(&chain(&[&small, &full], &counted).unwrap()), [JoinMode::Inline, JoinMode::Inline]);
}

#[test]
fn licences_are_not_mixed_in_one_program() {
    let (gpl, mut other) = (pass(), pass());
    other.0.license = "Proprietary".to_owned();
    let planned = chain(&[&gpl, &gpl, &other, &gpl], &XDP).unwrap();
    assert_eq!(starts(&planned), [0, 2, 3]);
    assert_eq!(planned.segments[1].reason, Some(CutReason::Licence));
    assert_eq!(planned.arrays, [ArrayUse::Segment(1), ArrayUse::Segment(2)]);
    let isolated = Member { isolated: true, ..member(&other) };
    let planned = plan(&[member(&gpl), isolated, member(&gpl)], &XDP).unwrap();
    assert_eq!((starts(&planned), &planned.arrays[..]), (vec![0], &[ArrayUse::Member(1)][..]));
}

#[test]
fn heavy_members_are_cut_apart_but_never_split() {
    let text = pass();
    let heavy =
        |insns, owner| Member { verified_insns: Some(insns), owner: MemberOwner(owner), ..member(&text) };
    let planned = |members: &[Member<'_>]| {
        let plan = plan(members, &XDP).unwrap();
        (starts(&plan), plan.segments.iter().map(|segment| segment.at_owner).collect::<Vec<_>>())
    };
    assert_eq!(planned(&[heavy(400_000, 0), heavy(400_000, 0)]).0, [0]);
    assert_eq!(planned(&[heavy(400_000, 0), heavy(400_001, 0)]).0, [0, 1]);
    assert_eq!(planned(&[heavy(900_000, 0), heavy(900_000, 0)]).0, [0, 1]);
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
    // A member with 64 maps cannot use another one, the array that leads to the next program.
    let planned = chain(&[&with_maps(0, 64), &with_maps(64, 65)], &XDP).unwrap();
    assert_eq!(ways(&planned), [JoinMode::Standalone, JoinMode::Inline], "{}", planned.reason());
    let arenas = SpliceOptions { arenas: &[MapId(3), MapId(70)], ..XDP };
    assert_eq!(reason(&[&with_maps(3, 4), &with_maps(70, 71)], &arenas), Some(CutReason::Arenas));
    assert_eq!(reason(&[&with_maps(3, 4), &with_maps(3, 4)], &arenas), None);
    let long = program(&[&[vec![set_r0(2); 600_000], vec![EXIT]].concat()]);
    let free = SpliceOptions { verified_limit: u64::MAX, ja32: true, ..XDP };
    assert!(matches!(reason(&[&long, &long], &free), Some(CutReason::Insns { .. })));
}

#[test]
fn first_writing_tc_member_follows_a_cut_if_readers_come_first() {
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
    let caller = in_entry(helper(12));
    assert_eq!(starts_of(&[&caller, &writer], &TCX), [0]);
}

#[test]
fn longest_chain_of_separate_programs_fits_the_tail_call_limit() {
    let text = pass();
    for attempt in [Attempt::CutEach, Attempt::AllStandalone] {
        let plan = chain(&[&text; MAX_MEMBERS], &SpliceOptions { attempt, ..XDP }).unwrap();
        assert!(plan.arrays.len() <= crate::MAX_TAIL_CALLS);
    }
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
fn a_move_that_did_not_help_is_taken_back() {
    let long = |len: usize| program(&[&[vec![set_r0(2); len], vec![EXIT]].concat()]);
    // The first member's jumps to the end pass all others: moving the first, which is the longest, does not help.
    let planned = chain(&[&long(25_000), &long(20_000), &long(15_000)], &XDP).unwrap();
    assert_eq!(planned.members[1], function(NotInlinedReason::TooLong { insns: 20_001 }));
    assert_eq!(ways(&planned), [JoinMode::Inline, JoinMode::Function, JoinMode::Inline]);
}

use std::sync::Arc;

use super::*;
use crate::chain::counters::CounterLayout;
use crate::chain::hook::SpliceHook;
use crate::chain::join_mode::JoinMode;
use crate::chain::options::FrameRounding;
use crate::chain::plan::{ArrayUse, Attempt};
use crate::chain::proceed::ProceedMask;
use crate::chain::sections::ChainPart;
use crate::emit::btf_merge::tests::{sample, types};
use crate::emit::exits::FAILED;
use crate::planning::planner::plan;
use crate::text::btf_records::FUNC;
use crate::text::testing::{
    EXIT, add, constant, copy, helper, load, local_call, program, set_r0, store, unknown,
};
use bpfman_model::{BoundText, Insn, op};

const PASS: ProceedMask = ProceedMask(1 << 2);
const XDP: SpliceOptions<'static> =
    SpliceOptions { rounding: FrameRounding::To16, ..SpliceOptions::new(SpliceHook::Xdp) };

/// Arrays get the ids from 1000 on, counters 2000.
fn compiled(members: &[Member<'_>], options: &SpliceOptions<'_>) -> (ChainPlan, Compiled) {
    let plan = plan(members, options).unwrap();
    let arrays: Vec<MapId> = (0..plan.arrays.len()).map(|number| MapId(1000 + number as u32)).collect();
    let counters = options.counters.then_some(MapId(2000));
    let timing = plan.timed.then_some(Timing { ticks: MapId(3000), samples: MapId(3001), phase: 0 });
    let bindings = Bindings { arrays: &arrays, counters, timing };
    let compiled = compile("chain", members, &plan, options, &bindings).unwrap();
    (plan, compiled)
}

fn insns(program: &Splice) -> &[Insn] {
    &program.text.0.insns
}

fn load_map(register: u8, id: i32) -> Insn {
    Insn::new(op::LD_IMM64, register, op::PSEUDO_MAP_FD, 0, id)
}

const fn mov32(register: u8, value: i32) -> Insn {
    Insn::new(0xb4, register, 0, 0, value)
}

const fn save(offset: i16) -> Insn {
    Insn::new(0x7b, 10, 1, offset, 0)
}
const fn restore(offset: i16) -> Insn {
    Insn::new(0x79, 1, 10, offset, 0)
}

#[test]
fn cut_tail_calls_and_drops_on_failure() {
    let (gpl, mut other) = (unknown(), unknown());
    other.0.license = "Proprietary".to_owned();
    let members = [Member::new("a.o", &gpl, PASS), Member::new("b.o", &other, PASS)];
    let (plan, compiled) = compiled(&members, &XDP);
    assert_eq!(plan.arrays, [ArrayUse::Segment(1)]);
    let [first, second] = &compiled.programs[..] else { panic!("two programs") };
    let expected = [
        save(-8),
        helper(7),
        Insn::new(op::JA, 0, 0, 0, 0),
        Insn::new(0x56, 0, 0, 7, 2), // not PASS: the end
        restore(-8),
        load_map(2, 1000),
        Insn::default(),
        mov32(3, 0),
        helper(12),
        mov32(0, 0), // ABORTED
        EXIT,
        EXIT,
    ];
    assert_eq!(insns(first), expected);
    assert_eq!((first.text.0.name.as_str(), first.members.clone()), ("chain", 0..1));
    assert_eq!(insns(second), [helper(7), Insn::new(op::JA, 0, 0, 0, 0), EXIT]);
    assert_eq!((second.text.0.name.as_str(), second.members.clone()), ("chain.2", 1..2));
    assert!(first.licence.gpl_compatible && !second.licence.gpl_compatible);
    assert_eq!(second.sections.first().map(|section| section.part.member()), Some(1));
}

#[test]
fn a_tc_chain_that_cannot_go_on_shoots_the_packet() {
    let (gpl, mut other) = (constant(2), constant(2));
    other.0.license = "Proprietary".to_owned();
    let set = ProceedMask(1 << 3);
    for hook in [SpliceHook::TcTcx, SpliceHook::TcClsact] {
        let members = [Member::new("a.o", &gpl, set), Member::new("b.o", &other, set)];
        let (_, compiled) = compiled(&members, &SpliceOptions { hook, ..XDP });
        let all = insns(&compiled.programs[0]);
        let call = all.iter().position(|insn| *insn == helper(12)).unwrap();
        assert_eq!(all[call + 1..call + 3], [mov32(0, 2), EXIT]);
    }
}

#[test]
fn a_member_in_its_own_program_is_tail_called_by_a_function() {
    let (plain, framed) = (unknown(), program(&[&[store(-24), helper(7), EXIT]]));
    let isolated = Member { isolated: true, ..Member::new("b.o", &framed, PASS) };
    let (plan, compiled) = compiled(&[Member::new("a.o", &plain, PASS), isolated], &XDP);
    assert_eq!(plan.arrays, [ArrayUse::Member(1)]);
    let expected = [
        save(-8),
        helper(7),
        Insn::new(op::JA, 0, 0, 0, 0),
        Insn::new(0x56, 0, 0, 3, 2), // member 1 stopped
        restore(-8),
        local_call(4),
        Insn::new(0x16, 0, 0, 1, FAILED), // the tail call failed
        EXIT,
        mov32(0, 0),
        EXIT,
        store(-8),
        store(-16),
        store(-24),
        load_map(2, 1000),
        Insn::default(),
        mov32(3, 0),
        helper(12),
        mov32(0, FAILED),
        EXIT,
    ];
    assert_eq!(insns(&compiled.programs[0]), expected);
    let stub = compiled.programs[0].sections.last().unwrap();
    assert_eq!(stub.part, ChainPart::Stub { member: 1 });
    assert_eq!(compiled.programs[0].text.0.functions.len(), 2);
}

#[test]
fn member_behind_a_call_sees_no_foreign_data_or_redirect_target() {
    let old_load = Insn::new(0x30, 0, 0, 0, 12);
    let shows = [store(-16), copy(2, 10), add(2, -16), helper(51), old_load, set_r0(0), EXIT];
    let redirects = program(&[&shows]);
    let plain = unknown();
    let proceeds = ProceedMask(1 << 1);
    let tcx = SpliceOptions { hook: SpliceHook::TcTcx, ..XDP };
    let middle = Member::new("b.o", &redirects, proceeds);
    let members = [Member::new("a.o", &plain, PASS), middle, Member::new("c.o", &plain, PASS)];
    let (plan, compiled) = compiled(&members, &tcx);
    assert_eq!(plan.members[1].way, JoinMode::Function);
    let program = &compiled.programs[0];
    let all = insns(program);
    let function = &program.text.0.functions[1];
    assert_eq!(function.name, "entry");
    assert_eq!(all[function.start..function.start + 3], [store(-8), store(-16), copy(2, 10)]);
    let call = all.iter().position(|insn| insn.is_local_call()).unwrap();
    assert_eq!(call as i64 + 1 + i64::from(all[call].imm), function.start as i64);
    assert!(all[call..function.start].contains(&helper(23)), "bpf_redirect(0, 0)");
    assert_eq!(program.text.0.func_info.len(), 2);
}

#[test]
fn inner_functions_see_no_foreign_data_in_reads_or_arguments() {
    let shows = [store(-16), copy(2, 10), add(2, -16), helper(7), set_r0(2), EXIT];
    let reads = [store(-16), load(2, 10, -8), helper(7), set_r0(2), EXIT];
    let keeps = [store(-16), helper(7), set_r0(2), EXIT];
    let zeroed = |function: &[Insn]| {
        let text = program(&[&[local_call(1), EXIT], function]);
        let member = Member::new("a.o", &text, PASS);
        let (_, compiled) = compiled(&[member, member], &XDP);
        let program = &compiled.programs[0];
        let all = insns(program);
        let starts: Vec<usize> =
            program.text.0.functions[1..].iter().map(|function| function.start).collect();
        let calls = all.iter().enumerate().filter(|(_, insn)| insn.is_local_call());
        let targets: Vec<usize> =
            calls.map(|(at, insn)| (at as i64 + 1 + i64::from(insn.imm)) as usize).collect();
        assert_eq!(targets, starts);
        starts.iter().map(|start| all[*start] == store(-8)).collect::<Vec<_>>()
    };
    assert_eq!(zeroed(&shows), [false, true], "the first member finds what it would find alone");
    assert_eq!(zeroed(&reads), [false, true]);
    assert_eq!(zeroed(&keeps), [false, false]);
}

#[test]
fn redirect_target_is_cleared_at_cuts_and_separate_programs() {
    let (plain, redirects, caller) = (constant(2), in_entry(helper(51)), in_entry(helper(12)));
    let forgets = |subject: Member<'_>, options: &SpliceOptions<'_>| {
        let (_, compiled) = compiled(&[subject, Member::new("b.o", &plain, PASS)], options);
        let calls: Vec<i32> = insns(&compiled.programs[0])
            .iter()
            .filter(|i| i.code == op::CALL && i.src() == 0)
            .map(|i| i.imm)
            .collect();
        calls.contains(&23)
    };
    let subject = Member::new("a.o", &redirects, PASS);
    assert!(forgets(subject, &SpliceOptions { attempt: Attempt::CutEach, ..XDP }));
    assert!(forgets(Member { isolated: true, ..subject }, &XDP));
    assert!(forgets(Member::new("a.o", &caller, PASS), &XDP), "what it calls may have asked for a redirect");
    assert!(!forgets(Member { isolated: true, ..Member::new("a.o", &plain, PASS) }, &XDP));
}

fn in_entry(insn: Insn) -> BoundText {
    program(&[&[insn, set_r0(2), EXIT]])
}

#[test]
fn without_counters_there_is_not_one_instruction_more() {
    let text = unknown();
    let member = Member::new("a.o", &text, PASS);
    let (_, plain) = compiled(&[member, member], &XDP);
    let (_, counted) = compiled(&[member, member], &SpliceOptions { counters: true, ..XDP });
    assert_eq!(insns(&plain.programs[0]).len(), 8);
    assert!(insns(&counted.programs[0]).len() > 20);
    let lookups = |program: &Splice| insns(program).iter().filter(|insn| **insn == helper(1)).count();
    assert_eq!(
        (lookups(&plain.programs[0]), lookups(&counted.programs[0])),
        (0, 1),
        "one lookup for all exits"
    );
    assert!(counted.programs[0].text.map_ids().contains(&MapId(2000)));
}

#[test]
fn a_verdict_that_is_known_is_counted_in_a_constant_cell() {
    let (pass, drop) = (constant(2), constant(1));
    let options = SpliceOptions { counters: true, ..XDP };
    let (_, compiled) =
        compiled(&[Member::new("a.o", &pass, PASS), Member::new("b.o", &drop, PASS)], &options);
    let all = insns(&compiled.programs[0]);
    let layout = CounterLayout::new(SpliceHook::Xdp, 2);
    let cell = |slot, code| mov32(9, (layout.cell(slot, code) * 8) as i32);
    assert!(all.contains(&cell(1, 1)), "member 2 drops");
    assert!(all.contains(&cell(layout.all_proceeded(), 2)), "the verifier will see that none gets here");
    let by_verdict = compiled.programs[0].text.0.insns.iter().filter(|insn| insn.code == 0x64).count();
    assert_eq!(by_verdict, 1, "only member 1, whose PASS never stops, has no constant");
}

#[test]
fn timed_chain_sends_some_packets_to_a_twin_that_reads_clocks() {
    let text = unknown();
    let member = Member::new("a.o", &text, PASS);
    let options = SpliceOptions { timing: true, ..XDP };
    let (plan, compiled) = compiled(&[member, member], &options);
    assert_eq!((plan.timed, &plan.arrays[..]), (true, &[ArrayUse::Twin(0)][..]));
    let ([entry], [twin]) = (&compiled.programs[..], &compiled.twins[..]) else { panic!("one of each") };
    let calls = |program: &Splice, id: i32| insns(program).iter().filter(|insn| **insn == helper(id)).count();
    // The entry counts the packet, and may tail-call the twin, but reads no clock.
    assert_eq!((calls(entry, 1), calls(entry, 12), calls(entry, 5)), (1, 1, 0));
    // The twin measures the clock itself and two members, and tail-calls no program.
    assert_eq!((calls(twin, 1), calls(twin, 12), calls(twin, 5)), (3, 0, 7));
    assert_eq!(entry.text.map_ids(), [MapId(1000), MapId(3000)]);
    assert_eq!(twin.text.map_ids(), [MapId(3001)]);
    assert_eq!(twin.text.0.name, "chain.t");
    let off = plan_of(&[member, member], &SpliceOptions { timing: false, ..options });
    assert!(off.arrays.is_empty() && !off.timed);
    let bound = Member { device_bound: true, ..member };
    assert!(!plan_of(&[bound, bound], &options).timed, "program arrays take no such programs");
}

fn plan_of(members: &[Member<'_>], options: &SpliceOptions<'_>) -> ChainPlan {
    plan(members, options).unwrap()
}

#[test]
fn a_cut_chains_twins_lead_to_each_other() {
    let text = unknown();
    let member = Member::new("a.o", &text, PASS);
    let options = SpliceOptions { timing: true, attempt: Attempt::CutEach, ..XDP };
    let (plan, compiled) = compiled(&[member, member], &options);
    assert_eq!(plan.arrays, [ArrayUse::Segment(1), ArrayUse::Twin(0), ArrayUse::Twin(1)]);
    let maps = |program: &Splice| program.text.map_ids();
    assert_eq!(maps(&compiled.programs[0]), [MapId(1000), MapId(1001), MapId(3000)]);
    assert_eq!(maps(&compiled.programs[1]), []);
    assert_eq!(maps(&compiled.twins[0]), [MapId(1002), MapId(3001)]);
    assert_eq!(maps(&compiled.twins[1]), [MapId(3001)]);
}

#[test]
fn failed_tail_call_is_counted_at_its_intended_target() {
    let plain = unknown();
    let isolated = Member { isolated: true, ..Member::new("b.o", &plain, PASS) };
    let options = SpliceOptions { counters: true, ..XDP };
    let (_, compiled) = compiled(&[Member::new("a.o", &plain, PASS), isolated], &options);
    let layout = CounterLayout::new(SpliceHook::Xdp, 2);
    assert!(insns(&compiled.programs[0]).contains(&mov32(9, (layout.failed_cell(1) * 8) as i32)));
}

#[test]
fn context_outlives_the_last_member_if_packets_are_counted() {
    let full = program(&[&[copy(6, 1), store(-512), helper(7), EXIT]]);
    let plain = unknown();
    let options = SpliceOptions { counters: true, ..XDP };
    let (_, compiled) =
        compiled(&[Member::new("a.o", &plain, PASS), Member::new("b.o", &full, PASS)], &options);
    let all = insns(&compiled.programs[0]);
    assert_eq!(all[0], copy(7, 1), "in a register that the last member leaves alone");
    assert!(all.contains(&Insn::new(0x61, 1, 1, 12, 0)), "ingress_ifindex");
}

#[test]
fn later_programs_are_named_after_the_chain() {
    assert_eq!(segment_name("xdp_eth0", 0, Copy::Plain), "xdp_eth0");
    assert_eq!(segment_name("xdp_eth0", 1, Copy::Plain), "xdp_eth0.2");
    assert_eq!(segment_name("fifteen_letters", 31, Copy::Plain), "fifteen_lett.32");
    assert_eq!(segment_name("fifteen_letters", 0, Copy::Twin), "fifteen_lette.t");
    assert_eq!(segment_name("xdp_eth0", 1, Copy::Twin), "xdp_eth0.t2");
}

#[test]
fn maps_that_do_not_match_the_plan_are_refused() {
    let text = unknown();
    let member = Member { isolated: true, proceed_on: ProceedMask(1), ..Member::new("a.o", &text, PASS) };
    let plan = plan(&[member], &XDP).unwrap();
    let refused = compile("chain", &[member], &plan, &XDP, &Bindings::default());
    assert_eq!(refused, Err(SpliceError::Bindings { what: "program arrays" }));
    let counted = SpliceOptions { counters: true, ..XDP };
    let bindings = Bindings { arrays: &[MapId(7)], ..Bindings::default() };
    let refused = compile("chain", &[member], &plan, &counted, &bindings);
    assert_eq!(refused, Err(SpliceError::Bindings { what: "counters" }));
    let refused = compile("chain", &[], &plan, &XDP, &bindings);
    assert_eq!(refused, Err(SpliceError::Bindings { what: "members" }));
}

#[test]
fn traced_members_are_global_functions_with_names_of_their_own() {
    let text = unknown();
    let member = Member::new("a.o", &text, PASS);
    let options = SpliceOptions { as_subprograms: true, ..XDP };
    let (_, compiled) = compiled(&[member; 3], &options);
    let bound = &compiled.programs[0].text.0;
    let names: Vec<&str> = bound.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["chain", "entry", "entry_2", "entry_3"]);
    let raw = bound.btf.as_deref().unwrap();
    let types = types(raw);
    for (info, name) in bound.func_info.iter().zip(&names) {
        let found = types.iter().position(|(kind, _, found, ..)| *kind == FUNC && found == name).unwrap();
        assert_eq!((found as u32 + 1, types[found].1), (info.type_id, 1), "{name}");
    }
}

#[test]
fn verifier_knows_no_result_of_tail_calls_and_failed_loads() {
    let global = |subject: Member<'_>, options: &SpliceOptions<'_>| {
        let plain = constant(2);
        let (_, compiled) = compiled(&[subject, Member::new("b.o", &plain, PASS)], options);
        let bound = &compiled.programs[0].text.0;
        types(bound.btf.as_deref().unwrap())[bound.func_info[1].type_id as usize - 1].1 == 1
    };
    let all = SpliceOptions { attempt: Attempt::AllFunctions, ..XDP };
    let plain = constant(2);
    fn subject(text: &BoundText) -> Member<'_> {
        Member::new("a.o", text, PASS)
    }
    assert!(!global(subject(&plain), &all), "its constant is seen, and saves a check");
    assert!(global(Member { isolated: true, ..subject(&plain) }, &XDP));
    for insn in [helper(12), Insn::new(0x30, 0, 0, 0, 12)] {
        let below = program(&[&[local_call(1), EXIT], &[insn, set_r0(2), EXIT]]);
        let text = in_entry(insn);
        assert!(global(subject(&text), &SpliceOptions { hook: SpliceHook::TcTcx, ..XDP }));
        assert!(global(subject(&below), &SpliceOptions { hook: SpliceHook::TcTcx, ..XDP }));
    }
}

#[test]
fn type_ids_in_instructions_move_with_their_types() {
    let typed = |insn: Insn| {
        let mut text = program(&[&[insn, set_r0(2), EXIT]]);
        text.0.btf = Some(Arc::from(sample()));
        text
    };
    let text = typed(Insn::new(0xb7, 1, 0, 0, 8));
    let member = Member { local_type_ids: &[0], ..Member::new("a.o", &text, PASS) };
    let other = typed(Insn::new(0xb7, 1, 0, 0, 9));
    let (_, compiled) = compiled(&[Member::new("b.o", &other, PASS), member], &XDP);
    let raw = compiled.programs[0].text.0.btf.as_deref().unwrap();
    let moved: Vec<i32> = insns(&compiled.programs[0])
        .iter()
        .filter(|insn| insn.code == 0xb7 && insn.dst() == 1)
        .map(|insn| insn.imm)
        .collect();
    assert_eq!(moved[0], 9, "a number is a number");
    assert_eq!(types(raw)[moved[1] as usize - 1].2, "point");
}

#[test]
fn a_type_id_is_written_where_a_number_is_and_nowhere_else() {
    let map = Insn::new(0x18, 1, 1, 0, 77);
    for (wrong, at) in [(map, 0), (map, 1), (helper(5), 0), (Insn::new(0x61, 1, 1, 0, 0), 0)] {
        let mut parts = vec![wrong];
        if wrong.is_ld_imm64() {
            parts.push(Insn::new(0, 0, 0, 0, 0));
        }
        parts.extend([set_r0(2), EXIT]);
        let mut text = program(&[&parts]);
        text.0.btf = Some(Arc::from(sample()));
        let (local, other) = ([at], constant(2));
        let members = [
            Member::new("b.o", &other, PASS),
            Member { local_type_ids: &local, ..Member::new("a.o", &text, PASS) },
        ];
        let plan = plan(&members, &XDP).unwrap();
        let arrays: Vec<MapId> = (0..plan.arrays.len() as u32).map(MapId).collect();
        let bindings = Bindings { arrays: &arrays, ..Bindings::default() };
        let refused = compile("chain", &members, &plan, &XDP, &bindings).unwrap_err();
        assert!(matches!(refused, SpliceError::NoTypeId { .. }), "{wrong:?}: {refused}");
    }
}

#[path = "compile_properties_tests.rs"]
mod properties;

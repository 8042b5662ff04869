use std::time::{Duration, Instant};

use bpfman_model::{Insn, op};
use bpfmand_splice::{JoinMode, ProceedMask, SpliceOptions};

use crate::chain::{Loaded, compare};
use crate::corpus::corpus_of;
use crate::generate::{self, Random};
use crate::kernel::{self, Map, Packet, ProgramKind};
use crate::objects::{self, Corpus};
use crate::pool::{self, PACKETS, Shape, packets};
use crate::together::{Tally, Together, options};

const PASS: ProceedMask = ProceedMask(1 << 2);

fn members_of(kind: ProgramKind, source: &str) -> Corpus {
    let mut corpus = Corpus::default();
    corpus.add(kind, source, &objects::compile(source), |_| true);
    corpus
}

fn packet() -> Packet {
    Packet { data: (0..64).collect(), context: vec![0] }
}

fn map_named<'a>(maps: &'a [Map], name: &str) -> &'a Map {
    maps.iter().find(|map| map.name == name).unwrap_or_else(|| panic!("no map {name}"))
}

#[test]
fn a_member_finds_no_stack_of_the_members_before_it() {
    let corpus = members_of(ProgramKind::Xdp, "xdp.c");
    let members = [(corpus.named("dirty_stack"), PASS), (corpus.named("read_stack"), PASS)];
    let chain = Together::new(ProgramKind::Xdp, &members, &corpus.maps, &options(ProgramKind::Xdp)).unwrap();
    let (verdict, _) = kernel::run(&chain.entry, ProgramKind::Xdp, &packet()).unwrap();
    assert_eq!(verdict, 2);
    let leaked = map_named(&corpus.maps.spliced, "leaked").contents();
    assert_eq!(leaked[0].1, vec![0; 256], "read_stack must find an empty frame");
}

fn chain_agrees(source: &str, names: &[&str], set: ProceedMask) -> Tally {
    let kind = ProgramKind::Xdp;
    let corpus = members_of(kind, source);
    let members: Vec<_> = names.iter().map(|name| (corpus.named(name), set)).collect();
    let packets = packets(&mut Random::new(9), kind, Shape::GENERATED);
    let mut tally = Tally::default();
    tally.check(kind, &members, &corpus.maps, &options(kind), &packets).unwrap();
    assert_eq!((tally.packets, tally.fallbacks.len()), (PACKETS, 0), "{names:?}");
    tally
}

#[test]
fn behind_a_full_frame_members_get_their_context_all_the_same() {
    chain_agrees("xdp.c", &["global_counter", "full_stack", "full_stack", "global_counter"], PASS);
    chain_agrees("xdp.c", &["full_stack", "per_cpu_counter", "prefix_filter"], PASS);
    let some = ProceedMask(0x0f);
    chain_agrees("xdp.c", &["full_stack", "prefix_filter", "prefix_filter", "global_counter"], some);
    chain_agrees("xdp.c", &["prefix_filter", "per_cpu_counter", "full_stack"], some);
}

#[test]
fn the_last_member_may_tail_call() {
    chain_agrees("xdp.c", &["global_counter", "jumper"], PASS);
    chain_agrees("xdp.c", &["jumper"], PASS);
}

#[test]
fn member_that_uses_up_its_loop_budget_leaves_the_nexts_alone() {
    if !objects::kernel_has("bpf_iter_num_new") || kernel::kernel_version() < (6, 9) {
        println!("skipped: Linux before 6.9 has no may_goto");
        return;
    }
    let corpus = members_of(ProgramKind::Xdp, "loops.c");
    let members = [(corpus.named("loop_to_the_end"), PASS), (corpus.named("loop_a_little"), PASS)];
    let chain = Together::new(ProgramKind::Xdp, &members, &corpus.maps, &options(ProgramKind::Xdp)).unwrap();
    let (verdict, _) = kernel::run(&chain.entry, ProgramKind::Xdp, &packet()).unwrap();
    assert_eq!(verdict, 2, "the second member had all its 64 turns");
    let turns = map_named(&corpus.maps.spliced, "turns").contents();
    let turns: Vec<u64> =
        turns.iter().map(|(_, value)| u64::from_ne_bytes(value.clone().try_into().unwrap())).collect();
    assert!(turns[0] > 1000, "the first member ran until its budget was used up: {turns:?}");
    assert_eq!(turns[1], 64);
}

#[test]
fn timer_outlives_its_chain_but_keeps_no_other_member_loaded() {
    if !objects::kernel_has("bpf_wq_start") {
        println!("skipped: this kernel has no work queues");
        return;
    }
    let kind = ProgramKind::Xdp;
    let mut corpus = members_of(kind, "deferred.c");
    corpus.add(kind, "xdp.c", &objects::compile("xdp.c"), |name| name == "global_counter");
    let names = ["global_counter", "start_timer", "start_work", "global_counter"];
    let members: Vec<_> = names.iter().map(|name| (corpus.named(name), PASS)).collect();
    let fired = || -> Vec<u64> {
        let contents = map_named(&corpus.maps.spliced, "fired").contents();
        contents.iter().map(|(_, value)| u64::from_ne_bytes(value.clone().try_into().unwrap())).collect()
    };
    // Work that a replaced chain started continues in the next one, which starts it again.
    for _ in 0..3 {
        let chain = Together::new(kind, &members, &corpus.maps, &options(kind)).unwrap();
        let id = chain.entry.id();
        let before = fired();
        let (verdict, _) = kernel::run(&chain.entry, kind, &packet()).unwrap();
        assert_eq!(verdict, 2);
        drop(chain);
        wait("both callbacks ran", || fired().iter().zip(&before).all(|(now, before)| now > before));
        wait("the old chain is gone", || !kernel::is_loaded(id));
    }
}

#[test]
fn deferred_work_and_exceptions_keep_a_program_separate() {
    let kind = ProgramKind::Xdp;
    let sources = [
        ("deferred.c", "bpf_wq_start", &["start_timer", "start_work"][..]),
        ("task_work.c", "bpf_task_work_schedule_signal_impl", &["run_errand"]),
        ("exits.c", "bpf_throw", &["throw_from_entry", "throw_and_pass", "throw_and_drop", "catch_nothing"]),
    ];
    for (source, needed, names) in sources {
        if !objects::kernel_has(needed) {
            println!("skipped: {source}: this kernel has no {needed}");
            continue;
        }
        let mut corpus = members_of(kind, source);
        corpus.add(kind, "xdp.c", &objects::compile("xdp.c"), |name| name == "global_counter");
        for name in names {
            let members = ["global_counter", name, "global_counter"].map(|name| (corpus.named(name), PASS));
            let chain = Together::new(kind, &members, &corpus.maps, &options(kind)).unwrap();
            assert_eq!(chain.plan.members[1].way, JoinMode::Standalone, "{name}");
        }
    }
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(150);
    while !holds() {
        assert!(Instant::now() < deadline, "after 150 s still not true: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn chains_of_members_with_frags_take_packets_in_several_buffers() {
    let kind = ProgramKind::Xdp;
    let corpus = members_of(kind, "frags.c");
    let pool: Vec<&Loaded> = corpus.members.iter().collect();
    let shape = Shape { from: 12_000, range: 20_000, short: false, longest: 10, ..Shape::LONG };
    let tally = pool::agrees(kind, &pool, &corpus.maps, 40, 11, shape);
    assert_eq!(tally.fallbacks.len(), 0);
}

#[test]
fn a_chain_longer_than_a_short_jump_reaches_its_end() {
    let kind = ProgramKind::Xdp;
    let wide_jump = objects::program(
        "wide_jump",
        vec![Insn::new(op::JA32, 0, 0, 0, 0), Insn::new(0xb7, 0, 0, 0, 2), Insn::new(op::EXIT, 0, 0, 0, 0)],
    );
    if let Err(log) = kernel::load(&wide_jump, kind, &[]) {
        assert!(kernel::kernel_version() < (6, 6), "{log}");
        println!("skipped: this kernel has no 32-bit jumps");
        return;
    }
    let mut random = Random::new(10);
    let maps = pool::generated_maps();
    let members: Vec<Loaded> = (0..4)
        .map(|number| {
            let mut text = generate::program(&mut random, kind, number);
            generate::lengthen(&mut text, 20_000);
            Loaded::new(format!("long-{number}"), text, kind, &maps)
        })
        .collect();
    let members: Vec<_> = members.iter().map(|member| (member, ProceedMask(0x0404))).collect();
    let packets = packets(&mut random, kind, Shape::GENERATED);
    for (ja32, calls) in [(false, true), (true, false)] {
        let chain = Together::new(kind, &members, &maps, &SpliceOptions { ja32, ..options(kind) }).unwrap();
        assert_eq!(chain.plan.members.iter().any(|member| member.way == JoinMode::Function), calls);
        let agreed = compare(kind, &members, &chain, &maps, &packets);
        assert!(agreed.as_ref().is_ok_and(|packets| *packets > 1), "{agreed:?}");
    }
}

#[test]
fn verifier_counts_no_more_stack_than_instructions_show() {
    let corpus = corpus_of(ProgramKind::Xdp);
    for member in &corpus.members {
        // The splicer compares the depths; this test only checks that a chain can be made.
        let joined = Together::new(
            ProgramKind::Xdp,
            &[(member, PASS)],
            &corpus.maps,
            &SpliceOptions { counters: true, ..options(ProgramKind::Xdp) },
        );
        assert!(joined.is_ok(), "{}: {}", member.label, joined.err().unwrap());
        // The verifier adds a function to a program that throws without a handler; Linux 6.18 reports its depth.
        let functions = member.text.0.functions.len();
        let given = member.name().starts_with("throw_from") && member.depths.len() == functions + 1;
        assert_eq!(member.depths.len(), functions + usize::from(given), "{}", member.label);
    }
}

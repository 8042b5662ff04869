//! Rules of the kernel that determine the join modes of members.

use bpfman_model::{BoundText, Insn, MapId};
use bpfmand_splice::{
    ArrayUse, Attempt, Bindings, COUNTER_ROWS, CounterLayout, FrameRounding, JoinMode, Member, ProceedMask,
    SpliceOptions, TIMED_ONE_IN, TimeLayout, Timing, compile, plan,
};

use crate::chain::descriptors;
use crate::kernel::{self, Map, Packet, Program, ProgramKind, load, run};
use crate::objects::{self, program};
use crate::together::options;

const EXIT: Insn = Insn::new(0x95, 0, 0, 0, 0);

const fn verdict(code: i32) -> Insn {
    Insn::new(0xb7, 0, 0, 0, code)
}

fn constant(code: i32) -> BoundText {
    program("constant", vec![verdict(code), EXIT])
}

fn alone(member: Member<'_>) -> Member<'_> {
    Member { isolated: true, ..member }
}

struct Chain {
    ways: Vec<JoinMode>,
    entry: Program,
    members: usize,
    counters: Option<Map>,
    samples: Option<Map>,
    _kept: (Vec<Map>, Vec<Program>),
}

impl Chain {
    /// Makes a chain, whose arrays stay empty if `fills` returns false for them.
    fn new(
        kind: ProgramKind,
        members: &[Member<'_>],
        maps: &[Map],
        options: &SpliceOptions<'_>,
        fills: impl Fn(ArrayUse) -> bool,
    ) -> Self {
        let plan = plan(members, options).unwrap();
        let row = CounterLayout::new(options.hook, plan.members.len()).value_size() as u32;
        let times = TimeLayout::new(plan.members.len()).value_size() as u32;
        let counters = options.counters.then(|| Map::create(6, 4, row, COUNTER_ROWS, 0).unwrap());
        let timing = plan.timed.then(|| {
            (Map::create(6, 4, 8, 1, 0).unwrap(), Map::create(6, 4, times, COUNTER_ROWS, 0).unwrap())
        });
        let mut arrays: Vec<Map> = plan.arrays.iter().map(|_| Map::empty_slot().unwrap()).collect();
        let mut all = descriptors(maps);
        let mut id = |map: &Map| {
            all.extend(descriptors(std::slice::from_ref(map)));
            MapId(all.len() as u32 - 1)
        };
        let array_ids: Vec<MapId> = arrays.iter().map(&mut id).collect();
        let bindings = Bindings {
            arrays: &array_ids,
            counters: counters.as_ref().map(&mut id),
            timing: timing.as_ref().map(|(ticks, samples)| Timing {
                ticks: id(ticks),
                samples: id(samples),
                phase: 0,
            }),
        };
        let compiled = compile("chain", members, &plan, options, &bindings).unwrap();
        let load = |text: &BoundText| load(text, kind, &all).unwrap_or_else(|log| panic!("{log}"));
        let mut programs: Vec<Program> =
            compiled.programs.iter().map(|program| load(&program.text)).collect();
        let twins: Vec<Program> = compiled.twins.iter().map(|program| load(&program.text)).collect();
        let mut kept = Vec::new();
        for (array, used) in arrays.iter().zip(&plan.arrays).filter(|(_, used)| fills(**used)) {
            match used {
                ArrayUse::Segment(number) => array.hold(&programs[*number]).unwrap(),
                ArrayUse::Twin(number) => array.hold(&twins[*number]).unwrap(),
                ArrayUse::Member(number) => {
                    let alone = load(members[*number].text);
                    array.hold(&alone).unwrap();
                    kept.push(alone);
                }
            }
        }
        let entry = programs.remove(0);
        kept.extend(programs.into_iter().chain(twins));
        let (ticks, samples) = timing.unzip();
        arrays.extend(ticks);
        let ways = plan.members.iter().map(|member| member.way).collect();
        Self { ways, entry, members: plan.members.len(), counters, samples, _kept: (arrays, kept) }
    }

    fn run(&self, kind: ProgramKind) -> i32 {
        let context = if kind == ProgramKind::Xdp { vec![0] } else { vec![0; 7] };
        run(&self.entry, kind, &Packet { data: vec![0x11; 64], context }).unwrap().0
    }

    fn exits(&self) -> Vec<u64> {
        let rows = self.counters.as_ref().unwrap().contents();
        let mut sums = vec![0; rows[0].1.len() / 8];
        for (_, row) in rows {
            for (sum, bytes) in sums.iter_mut().zip(row.as_chunks::<8>().0) {
                *sum += u64::from_ne_bytes(*bytes);
            }
        }
        sums
    }
}

fn tail_caller(otherwise: i32) -> BoundText {
    program(
        "tail_caller",
        vec![
            Insn::new(0x18, 2, 1, 0, 0),
            Insn::default(),
            Insn::new(0xb7, 3, 0, 0, 0),
            Insn::new(0x85, 0, 0, 0, 12),
            verdict(otherwise),
            EXIT,
        ],
    )
}

#[test]
fn packet_of_a_failed_tail_call_is_dropped_and_counted_there() {
    for (kind, goes_on, dropped) in
        [(ProgramKind::Xdp, 2, 0), (ProgramKind::Tcx, 3, 2), (ProgramKind::Clsact, 3, 2)]
    {
        let text = constant(goes_on);
        let set = ProceedMask(if kind == ProgramKind::Xdp { 1 << goes_on } else { 1 << (goes_on + 1) });
        let member = Member::new("a.o", &text, set);
        let isolated = Member { isolated: true, ..member };
        let counted = SpliceOptions { counters: true, ..options(kind) };
        let cut = SpliceOptions { attempt: Attempt::CutEach, ..counted };
        for (members, options) in [([member, isolated, member], counted), ([member, member, member], cut)] {
            let missing = [ArrayUse::Member(1), ArrayUse::Segment(1)];
            let broken = Chain::new(kind, &members, &[], &options, |used| !missing.contains(&used));
            let layout = CounterLayout::new(options.hook, 3);
            assert_eq!(broken.run(kind), dropped, "{kind:?}");
            let mut expected = vec![0; layout.slots * layout.columns];
            expected[layout.failed_cell(1)] = 1;
            assert_eq!(broken.exits(), expected, "{kind:?}");
            let whole = Chain::new(kind, &members, &[], &options, |_| true);
            assert_eq!(whole.run(kind), options.hook.end_verdict(), "{kind:?}");
            let mut expected = vec![0; layout.slots * layout.columns];
            expected[layout.cell(layout.all_proceeded(), options.hook.end_verdict())] = 1;
            assert_eq!(whole.exits(), expected, "{kind:?}");
        }
    }
}

#[test]
fn tail_called_verdict_is_checked_though_verifiers_ignore_it() {
    let kind = ProgramKind::Xdp;
    let jumps = Map::empty_slot().unwrap();
    let dropper = load(&constant(1), kind, &[]).unwrap();
    jumps.hold(&dropper).unwrap();
    // For the verifier of older kernels, the first member always passes.
    let (caller, last) = (tail_caller(2), constant(3));
    let members = [
        Member::new("caller.o", &caller, ProceedMask(1 << 2)),
        Member::new("last.o", &last, ProceedMask(1 << 2)),
    ];
    let maps = [jumps];
    let chain = Chain::new(kind, &members, &maps, &options(kind), |_| true);
    assert_eq!(chain.ways, [JoinMode::Function, JoinMode::Inline]);
    assert_eq!(chain.run(kind), 1);
    let drop = constant(1);
    let own = Member { isolated: true, ..Member::new("own.o", &drop, ProceedMask(1 << 2)) };
    let chain = Chain::new(kind, &[own, members[1]], &[], &options(kind), |_| true);
    assert_eq!(chain.run(kind), 1);
}

#[test]
fn failed_old_load_returns_zero_though_verifiers_ignore_it() {
    let kind = ProgramKind::Tcx;
    // Loads beyond the end of the packet end the program with 0.
    let load_beyond = program(
        "load_beyond",
        vec![Insn::new(0xbf, 6, 1, 0, 0), Insn::new(0x30, 0, 0, 0, 5000), verdict(3), EXIT],
    );
    let last = constant(2);
    let pipe = ProceedMask(1 << 4);
    let members = [Member::new("load.o", &load_beyond, pipe), Member::new("last.o", &last, pipe)];
    let chain = Chain::new(kind, &members, &[], &options(kind), |_| true);
    assert_eq!(chain.ways, [JoinMode::Function, JoinMode::Inline]);
    assert_eq!(chain.run(kind), 0, "OK, by the failing load, ends the chain");
}

#[test]
fn a_program_of_its_own_or_behind_a_call_finds_an_empty_stack() {
    let kind = ProgramKind::Xdp;
    let mut dirty: Vec<Insn> = (1..=16).map(|slot| Insn::new(0x7a, 10, 0, -8 * slot, 0x5a5a)).collect();
    dirty.extend([verdict(2), EXIT]);
    let dirty = program("dirty", dirty);
    let mut reader = vec![Insn::new(0xb7, 1, 0, 0, 0)];
    for slot in 1..=16 {
        reader.extend([Insn::new(0x79, 2, 10, -8 * slot, 0), Insn::new(0x4f, 1, 2, 0, 0)]);
    }
    reader.extend([verdict(2), Insn::new(0x15, 1, 0, 1, 0), verdict(1), EXIT]);
    let reader = program("reader", reader);
    if let Err(log) = load(&reader, kind, &[]) {
        assert!(kernel::kernel_version() < (6, 3), "{log}");
        println!("skipped: programs cannot read stack that they never wrote before Linux 6.3");
        return;
    }
    let set = ProceedMask(1 << 2);
    let (dirty, reader) = (Member::new("dirty.o", &dirty, set), Member::new("reader.o", &reader, set));
    let attempt = |attempt| SpliceOptions { attempt, ..options(kind) };
    for (members, options) in [
        ([dirty, reader], options(kind)),
        ([dirty, alone(reader)], options(kind)),
        ([alone(dirty), alone(reader)], options(kind)),
        ([alone(dirty), reader], options(kind)),
        ([dirty, reader], attempt(Attempt::AllFunctions)),
        ([dirty, reader], attempt(Attempt::CutEach)),
    ] {
        let chain = Chain::new(kind, &members, &[], &options, |_| true);
        assert_eq!(chain.run(kind), 2, "{:?}, {:?}", chain.ways, options.attempt);
    }
}

#[test]
fn type_ids_in_instructions_move_with_their_types() {
    let kind = ProgramKind::Tcx;
    if !objects::kernel_has("bpf_rbtree_first") {
        println!("skipped: this kernel has no bpf_rbtree_first, which the object names");
        return;
    }
    let object = objects::compile("objects.c");
    let maps = objects::maps(&object);
    let text = objects::text(&object, "make_object");
    let ids = objects::local_type_ids(&object, "make_object");
    assert_eq!(ids.len(), 1);
    let tied = object.maps().iter().enumerate().filter(|(index, _)| object.map_is_tied(*index));
    let tied = tied.map(|(_, map)| map.name.as_str());
    assert_eq!(tied.collect::<Vec<_>>(), ["queues", "trees", "holders"]);
    let pipe = ProceedMask(1 << 4);
    let (first, last) = (constant(3), constant(2));
    let moved = Member { local_type_ids: &ids, ..Member::new("objects.o", &text, pipe) };
    let members = [Member::new("first.o", &first, pipe), moved, Member::new("last.o", &last, pipe)];
    let chain = Chain::new(kind, &members, &maps, &options(kind), |_| true);
    assert_eq!(chain.ways, [JoinMode::Inline; 3]);
    assert_eq!(chain.run(kind), 2, "the object was made and freed, and the packet went on");
    let type_id = |text: &BoundText| text.0.insns[ids[0]].imm;
    assert!(type_id(&text) > 0);
}

#[test]
fn the_kernel_takes_frames_up_to_what_the_planner_counts() {
    let kind = ProgramKind::Xdp;
    let set = ProceedMask(1 << 2);
    let framed = |depth: i16, registers: std::ops::RangeInclusive<u8>| {
        let mut insns: Vec<Insn> = registers.map(|register| Insn::new(0xbf, register, 1, 0, 0)).collect();
        insns.extend([Insn::new(0x7a, 10, 0, -depth, 0), verdict(2), EXIT]);
        program("framed", insns)
    };
    let small = constant(2);
    let small = Member::new("small.o", &small, set);
    // Frames above a tail call in a function must be below 256 bytes; the kernel counts rounded sizes.
    for (depth, inlined) in [(216, true), (264, false)] {
        let text = framed(depth, 6..=6);
        let members = [Member::new("framed.o", &text, set), alone(small), small];
        let chain = Chain::new(kind, &members, &[], &options(kind), |_| true);
        assert_eq!(chain.ways[0] == JoinMode::Inline, inlined, "{depth}");
        assert_eq!(chain.run(kind), 2);
    }
    // A full frame, and no free register: the member is called if the kernel counts an empty frame as 0 bytes.
    let text = framed(512, 6..=9);
    let members = [Member::new("full.o", &text, set), small];
    let chain = Chain::new(kind, &members, &[], &options(kind), |_| true);
    let way =
        if options(kind).rounding == FrameRounding::To16 { JoinMode::Function } else { JoinMode::Standalone };
    assert_eq!(chain.ways[0], way);
    assert_eq!(chain.run(kind), 2);
}

#[test]
fn one_packet_in_1024_is_timed_and_means_the_same() {
    const PACKETS: u32 = 3 * TIMED_ONE_IN;
    for (kind, goes_on) in [(ProgramKind::Xdp, 2), (ProgramKind::Tcx, 3)] {
        let (first, last) = (constant(goes_on), constant(1));
        let set = ProceedMask(if kind == ProgramKind::Xdp { 1 << goes_on } else { 1 << (goes_on + 1) });
        let (first, last) = (Member::new("first.o", &first, set), Member::new("last.o", &last, set));
        let never = Member { proceed_on: set, ..first };
        let timed = SpliceOptions { timing: true, counters: true, ..options(kind) };
        let cut = SpliceOptions { attempt: Attempt::CutEach, ..timed };
        let isolated = Member { isolated: true, ..first };
        for (members, options) in
            [([first, last, never], timed), ([first, last, never], cut), ([isolated, last, never], timed)]
        {
            let chain = Chain::new(kind, &members, &[], &options, |_| true);
            let hook = options.hook;
            kernel::stay_on_one_cpu().unwrap();
            for _ in 0..PACKETS {
                assert_eq!(chain.run(kind), hook.translate(1), "{kind:?}");
            }
            let counters = CounterLayout::new(hook, chain.members);
            let mut exits = vec![0; counters.slots * counters.columns];
            exits[counters.cell(1, 1)] = u64::from(PACKETS);
            assert_eq!(chain.exits(), exits, "timed packets are counted like all others");
            let layout = TimeLayout::new(chain.members);
            let cells_of = |row: &[u8]| -> Vec<u64> {
                row.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect()
            };
            let rows: Vec<Vec<u64>> =
                chain.samples.as_ref().unwrap().contents().iter().map(|(_, row)| cells_of(row)).collect();
            let used: Vec<usize> =
                (0..rows.len()).filter(|row| rows[*row].iter().any(|cell| *cell > 0)).collect();
            assert_eq!(used, [1], "a row for each interface");
            let cells = &rows[used[0]];
            let samples = |slot| cells[layout.samples(slot)];
            assert_eq!([samples(0), samples(1), samples(2)], [3, 3, 0], "{kind:?}: the last is not reached");
            // Each program of a cut chain measures how long a reading of the clock takes.
            let programs = if options.attempt == Attempt::CutEach { 2 } else { 1 };
            assert_eq!(samples(layout.clock()), 3 * programs);
            for slot in [0, 1, layout.clock()] {
                assert!(cells[layout.samples(slot) + 1] > 0, "time goes by");
            }
        }
    }
}

use proptest::prelude::*;

use super::*;

fn member() -> impl Strategy<Value = (BoundText, u32, bool)> {
    let insn = prop_oneof![
        (-40i16..0).prop_map(|slot| store(slot * 8)),
        (0i32..9).prop_map(set_r0),
        prop_oneof![Just(5), Just(7), Just(23), Just(169)].prop_map(helper),
        Just(Insn::new(0x30, 0, 0, 0, 12)),
        Just(Insn::new(op::JCOND, 0, 0, 0, 0)),
    ];
    let licence = prop_oneof![Just("GPL"), Just("Proprietary")];
    let body = || proptest::collection::vec(insn.clone(), 0..6);
    (body(), body(), licence, any::<u32>(), proptest::bool::weighted(0.1)).prop_map(
        |(mut entry, mut function, licence, set, isolated)| {
            entry.extend([local_call(1), EXIT]);
            function.extend([load_map(1, 5), Insn::default(), set_r0(2), EXIT]);
            let mut text = program(&[&entry, &function]);
            text.0.license = licence.to_owned();
            (text, set, isolated)
        },
    )
}

fn attempt() -> impl Strategy<Value = Attempt> {
    prop_oneof![
        Just(Attempt::First),
        Just(Attempt::AllFunctions),
        Just(Attempt::CutEach),
        Just(Attempt::AllStandalone)
    ]
}

proptest! {
    #[test]
    fn chains_are_sound_and_the_same_whatever_their_maps_are_called(
        texts in proptest::collection::vec(member(), 1..12),
        hook in prop_oneof![Just(SpliceHook::Xdp), Just(SpliceHook::TcTcx), Just(SpliceHook::TcClsact)],
        attempt in attempt(),
        counters: bool,
        as_subprograms: bool,
        timing: bool,
    ) {
        let options = SpliceOptions { hook, attempt, counters, timing, as_subprograms, ..XDP };
        let members: Vec<_> = texts
            .iter()
            .map(|(text, set, isolated)| Member {
                isolated: *isolated,
                ..Member::new("a.o", text, ProceedMask(*set))
            })
            .collect();
        let (plan, first) = compiled(&members, &options);
        prop_assert_eq!(&compiled(&members, &options), &(plan.clone(), first.clone()));
        let covered: Vec<usize> = plan.segments.iter().flat_map(|segment| segment.members.clone()).collect();
        let direct = plan.segments.is_empty();
        prop_assert!(direct || covered == (0..plan.members.len()).collect::<Vec<_>>());
        prop_assert_eq!(first.twins.len(), if plan.timed { first.programs.len() } else { 0 });
        for program in first.programs.iter().chain(&first.twins) {
            let text = &program.text.0;
            prop_assert_eq!(crate::chain::member::check_shape(text), Ok(()));
            prop_assert!(program.stack_bytes <= 512);
            prop_assert_eq!(text.func_info.len(), text.functions.len());
            for (info, function) in text.func_info.iter().zip(&text.functions) {
                prop_assert_eq!(info.insn_off as usize, function.start);
                prop_assert!(text.line_info.iter().any(|line| line.insn_off as usize == function.start));
            }
            prop_assert!(text.line_info.is_sorted_by(|a, b| a.insn_off < b.insn_off));
        }
        // Only references to maps differ, which the kernel leaves out of the tag.
        let arrays: Vec<MapId> = plan.arrays.iter().map(|_| MapId(77)).collect();
        let timing = plan.timed.then_some(Timing { ticks: MapId(79), samples: MapId(80), phase: 0 });
        let bindings = Bindings { arrays: &arrays, counters: counters.then_some(MapId(78)), timing };
        let other = compile("chain", &members, &plan, &options, &bindings).unwrap();
        let pairs = first.programs.iter().zip(&other.programs).chain(first.twins.iter().zip(&other.twins));
        for (one, two) in pairs {
            let references: Vec<usize> = one.text.map_references().collect();
            for (at, (a, b)) in insns(one).iter().zip(insns(two)).enumerate() {
                let b = if references.contains(&at) { Insn { imm: a.imm, ..*b } } else { *b };
                prop_assert_eq!(*a, b);
            }
            prop_assert_eq!(&one.text.0.btf, &two.text.0.btf);
        }
    }
}

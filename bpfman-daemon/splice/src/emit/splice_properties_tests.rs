use proptest::prelude::*;

use super::*;

fn member() -> impl Strategy<Value = BoundText> {
    let insn = prop_oneof![
        (-16i16..0).prop_map(|slot| store(slot * 8)),
        (0i32..9).prop_map(set_r0),
        prop_oneof![Just(5), Just(7), Just(23)].prop_map(helper),
        Just(Insn::new(0x15, 0, 0, 0, 0)),
    ];
    let body = || proptest::collection::vec(insn.clone(), 0..12);
    (body(), body(), any::<bool>()).prop_map(|(mut entry, mut function, exits_early)| {
        if exits_early {
            entry.extend([Insn::new(0x15, 0, 0, 1, 0), EXIT]);
        }
        entry.extend([local_call(1), EXIT]);
        function.extend([set_r0(2), EXIT]);
        program(&[&entry, &function])
    })
}

fn chain() -> impl Strategy<Value = (Vec<(BoundText, u32)>, SpliceHook)> {
    let hook = prop_oneof![Just(SpliceHook::Xdp), Just(SpliceHook::TcTcx), Just(SpliceHook::TcClsact)];
    (proptest::collection::vec((member(), any::<u32>()), 1..=MAX_MEMBERS), hook)
}

proptest! {
    #[test]
    fn the_same_members_give_the_same_bytes_in_a_sound_shape((texts, hook) in chain()) {
        let build = || {
            let members: Vec<_> = texts
                .iter()
                .map(|(text, set)| Member::new("a.o", text, ProceedMask(*set)))
                .collect();
            splice("chain", &members, &SpliceOptions { tc_writers_behind_cut: false, ..SpliceOptions::new(hook) })
                .unwrap()
        };
        let joined = build();
        prop_assert_eq!(&joined, &build());
        let text = &joined.text.0;
        prop_assert_eq!(crate::chain::member::check_shape(text), Ok(()));
        prop_assert_eq!(text.func_info.len(), text.functions.len());
        for (info, function) in text.func_info.iter().zip(&text.functions) {
            prop_assert_eq!(info.insn_off as usize, function.start);
        }
        prop_assert!(text.line_info.is_sorted_by(|a, b| a.insn_off < b.insn_off));
        for function in &text.functions {
            prop_assert!(text.line_info.iter().any(|line| line.insn_off as usize == function.start));
        }
        // Bodies change only in exits and calls.
        for section in &joined.sections {
            let ChainPart::Body { member } = section.part else { continue };
            let before = &texts[member].0.0.insns[..section.insns.len()];
            for (old, new) in before.iter().zip(&text.insns[section.insns.clone()]) {
                prop_assert!(old == new || old.is_local_call() || *old == EXIT && new.code == op::JA);
            }
        }
    }
}

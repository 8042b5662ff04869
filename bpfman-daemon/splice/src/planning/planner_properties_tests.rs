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
                owner: MemberOwner(*owner),
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
        let own = |member: &usize| plan.members[*member].way == JoinMode::Standalone;
        let reaches = plan.arrays.iter().filter(|used| !matches!(used, ArrayUse::Twin(1..))).count();
        prop_assert!(reaches <= crate::MAX_TAIL_CALLS);
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
        for member in &plan.members {
            prop_assert_eq!(member.reason.is_none(), member.way == JoinMode::Inline);
        }
    }
}

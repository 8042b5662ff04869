use std::collections::BTreeMap;

use bpfman_application::rollout::{Gates, OnFailure, Preflight, Rollout, RolloutPhase};
use bpfman_operator::rollout::command::RolloutCommand;
use bpfman_operator::rollout::decide;
use proptest::prelude::*;

use super::fleet::{Fleet, Version, amount};

const KERNELS: [&str; 3] = ["6.1.0", "6.6.0", "6.12.0"];

#[derive(Clone, Debug)]
enum Happening {
    Control,
    StopAfter(usize),
    Work(usize),
    WorkAll,
    Pass(i64),
    ClockBack(i64),
    Join(usize),
    Leave(usize),
    Away(usize),
    Back(usize),
    Silent(usize),
    Say(RolloutCommand),
    Release { fails: Vec<usize>, refused: Option<usize>, slow: Vec<usize> },
    Pause(bool),
    Unselect(usize),
    Split(usize),
    Heal,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Control),
        3 => (0usize..6).prop_map(Happening::StopAfter),
        4 => any::<usize>().prop_map(Happening::Work),
        4 => Just(Happening::WorkAll),
        3 => (0i64..400).prop_map(Happening::Pass),
        1 => (1i64..100_000).prop_map(Happening::ClockBack),
        1 => any::<usize>().prop_map(Happening::Join),
        1 => any::<usize>().prop_map(Happening::Leave),
        1 => any::<usize>().prop_map(Happening::Away),
        1 => any::<usize>().prop_map(Happening::Back),
        1 => any::<usize>().prop_map(Happening::Silent),
        1 => prop_oneof![Just(RolloutCommand::Promote), Just(RolloutCommand::Abort)].prop_map(Happening::Say),
        1 => release(),
        1 => any::<bool>().prop_map(Happening::Pause),
        1 => any::<usize>().prop_map(Happening::Unselect),
        1 => any::<usize>().prop_map(Happening::Split),
        1 => Just(Happening::Heal),
    ]
}

fn release() -> impl Strategy<Value = Happening> {
    let some = || proptest::collection::vec(any::<usize>(), 0..3);
    (some(), proptest::option::weighted(0.3, any::<usize>()), some())
        .prop_map(|(fails, refused, slow)| Happening::Release { fails, refused, slow })
}

fn an_amount() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u32..30).prop_map(|count| count.to_string()),
        (0u32..=100).prop_map(|share| format!("{share}%"))
    ]
}

prop_compose! {
    fn rollout()(
        waves in proptest::collection::vec(an_amount(), 0..4),
        max_unavailable in proptest::option::of(an_amount()),
        max_failed in proptest::option::of(0u32..3),
        soak_seconds in prop_oneof![Just(0u32), 1u32..300],
        manual in proptest::bool::weighted(0.2),
        gates in any::<bool>(),
        never in any::<bool>(),
        pause in any::<bool>(),
    ) -> Rollout {
        Rollout {
            waves: waves.iter().map(|text| amount(text)).collect(),
            max_unavailable: max_unavailable.as_deref().map(amount),
            max_failed: max_failed.map(|count| amount(&count.to_string())),
            soak_seconds,
            manual,
            progress_deadline_seconds: 300,
            gates: gates.then(Gates::default),
            preflight: if never { Preflight::Never } else { Preflight::Always },
            on_failure: if pause { OnFailure::Pause } else { OnFailure::Rollback },
            paused: false,
        }
    }
}

fn pick(fleet: &Fleet, number: usize) -> Option<String> {
    let count = fleet.seen.nodes.len();
    (count > 0).then(|| fleet.seen.nodes.keys().nth(number % count).cloned()).flatten()
}

fn happen(fleet: &mut Fleet, happening: &Happening, version: &mut u32) {
    let node = |fleet: &Fleet, number: &usize| pick(fleet, *number);
    match happening {
        Happening::Control => {
            fleet.control();
        }
        Happening::StopAfter(writes) => {
            fleet.control_and_stop_after(*writes);
        }
        Happening::Work(number) => {
            if let Some(name) = node(fleet, number) {
                fleet.work(&name);
            }
        }
        Happening::WorkAll => fleet.work_all(),
        Happening::Pass(seconds) => fleet.pass(*seconds),
        Happening::ClockBack(seconds) => fleet.pass(-seconds),
        Happening::Join(number) => {
            fleet.join(KERNELS[number % KERNELS.len()]);
        }
        Happening::Leave(number) => {
            if let Some(name) = node(fleet, number) {
                fleet.seen.nodes.remove(&name);
            }
        }
        Happening::Away(number) | Happening::Back(number) => {
            if let Some(name) = node(fleet, number) {
                fleet.seen.nodes.get_mut(&name).unwrap().present = matches!(happening, Happening::Back(_));
            }
        }
        Happening::Silent(number) => {
            if let Some(name) = node(fleet, number) {
                fleet.silent.insert(name);
            }
        }
        Happening::Say(command) => fleet.say(*command),
        Happening::Release { fails, refused, slow } => {
            *version += 1;
            let names =
                |numbers: &[usize]| numbers.iter().filter_map(|number| pick(fleet, *number)).collect();
            let version = Version {
                refused_by: refused.iter().map(|number| KERNELS[number % KERNELS.len()].to_owned()).collect(),
                fails_on: names(fails),
                slow_on: names(slow),
                digest: (version.is_multiple_of(2)).then(|| format!("sha256:{version:064x}")),
                ..Version::good(*version)
            };
            fleet.release(version);
        }
        Happening::Pause(paused) => fleet.seen.rollout.paused = *paused,
        Happening::Split(number) => fleet.split(|node| (node * 3 + number % 10) % 10 < 7),
        Happening::Heal => fleet.heal(),
        Happening::Unselect(number) => {
            if let Some(name) = node(fleet, number) {
                let node = fleet.seen.nodes.get_mut(&name).unwrap();
                node.selected = !node.selected;
            }
        }
    }
}

fn fleet(counts: &[usize], rollout: Rollout) -> Fleet {
    let kernels: Vec<(&str, usize)> = KERNELS.into_iter().zip(counts.iter().copied()).collect();
    Fleet::stable(&kernels, rollout)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rollout always terminates. Waves, budget and idempotence are checked at every decision.
    #[test]
    fn whatever_happens_waves_and_budget_hold_and_it_ends(
        counts in proptest::collection::vec(1usize..8, 3),
        rollout in rollout(),
        first in release(),
        happenings in proptest::collection::vec(happening(), 0..60),
    ) {
        let mut fleet = fleet(&counts, rollout);
        let mut version = 1;
        happen(&mut fleet, &first, &mut version);
        for happening in &happenings {
            happen(&mut fleet, happening, &mut version);
        }
        // From here on there are no user actions, and nodes that do not report are removed.
        fleet.seen.rollout.paused = false;
        fleet.seen.rollout.manual = false;
        fleet.heal();
        let silent: Vec<String> = fleet.silent.iter().cloned().collect();
        for _ in 0..20 {
            fleet.control();
            fleet.work_all();
            fleet.pass(60);
        }
        for name in silent {
            fleet.seen.nodes.remove(&name);
        }
        let any = fleet.seen.nodes.values().any(|node| node.selected && node.present);
        prop_assert!(fleet.settle() || !any, "does not end: {:?}", fleet.status());
        if fleet.status().phase == RolloutPhase::Idle {
            let stable = fleet.status().stable_revision.clone().unwrap();
            for (name, node) in fleet.seen.nodes.iter().filter(|(_, node)| node.selected && node.present) {
                let ordered = node.orders.revision.clone().unwrap_or_default();
                prop_assert!(
                    bpfman_operator::rollout::revision::same_source(&ordered, &stable),
                    "{name} has {ordered}, stable is {stable}"
                );
            }
        }
    }

    /// Waves are parts of the whole fleet: the rest does not become stable alone, nor change at once when it returns.
    #[test]
    fn a_split_makes_no_node_change_before_its_wave(
        counts in proptest::collection::vec(5usize..15, 3),
        rollout in rollout(),
        first in release(),
        before in 0usize..12,
        cut in 0usize..10,
        during in 1usize..40,
    ) {
        let mut fleet = fleet(&counts, Rollout { manual: false, ..rollout });
        happen(&mut fleet, &first, &mut 1);
        let rounds = |fleet: &mut Fleet, count| {
            for _ in 0..count {
                fleet.control();
                fleet.work_all();
                fleet.pass(45);
            }
        };
        rounds(&mut fleet, before);
        happen(&mut fleet, &Happening::Split(cut), &mut 1);
        rounds(&mut fleet, during);
        fleet.heal();
        prop_assert!(fleet.settle(), "does not end: {:?}", fleet.status());
    }

    /// A controller that is stopped anywhere and restarted reaches the same result.
    #[test]
    fn a_restart_between_any_two_writes_changes_nothing(
        counts in proptest::collection::vec(1usize..8, 3),
        rollout in rollout(),
        first in release(),
        stops in proptest::collection::vec(0usize..6, 1..40),
    ) {
        let run = |stops: &[usize]| {
            let mut fleet = fleet(&counts, Rollout { manual: false, ..rollout.clone() });
            happen(&mut fleet, &first, &mut 1);
            for round in 0..150 {
                if let Some(writes) = stops.get(round) {
                    fleet.control_and_stop_after(*writes);
                }
                fleet.control();
                fleet.work_all();
                fleet.pass(30);
            }
            let revisions: BTreeMap<_, _> =
                fleet.seen.nodes.iter().map(|(name, node)| (name.clone(), node.orders.revision.clone())).collect();
            (fleet.status().clone(), revisions, fleet.told.clone())
        };
        prop_assert_eq!(run(&[]), run(&stops));
    }

    /// Each node is ordered at most once to run the new revision, and at most once to return.
    #[test]
    fn every_order_is_written_once(
        counts in proptest::collection::vec(1usize..8, 3),
        rollout in rollout(),
        first in release(),
    ) {
        let mut fleet = fleet(&counts, Rollout { manual: false, ..rollout });
        happen(&mut fleet, &first, &mut 1);
        fleet.settle();
        for (name, told) in &fleet.told {
            prop_assert!(told.len() <= 2, "{name} was told {told:?}");
            prop_assert!(told.len() < 2 || told[0] != told[1], "{name} was told {told:?}");
        }
    }

    /// The decision depends only on the observation.
    #[test]
    fn the_same_observation_gives_the_same_decision(
        counts in proptest::collection::vec(1usize..8, 3),
        rollout in rollout(),
        happenings in proptest::collection::vec(happening(), 0..40),
    ) {
        let mut fleet = fleet(&counts, rollout);
        let mut version = 1;
        for happening in &happenings {
            happen(&mut fleet, happening, &mut version);
        }
        prop_assert_eq!(decide(&fleet.seen), decide(&fleet.seen.clone()));
    }
}

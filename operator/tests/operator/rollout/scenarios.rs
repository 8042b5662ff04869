use bpfman_application::rollout::{Gates, OnFailure, Preflight, Rollout, RolloutPhase};
use bpfman_operator::rollout::clear;
use bpfman_operator::rollout::command::RolloutCommand;

use super::fleet::{Fleet, NEW, OLD, V1, V2, Version, amount, names, waves};

#[test]
fn waves_grow_and_the_last_one_makes_the_revision_stable() {
    let mut fleet = Fleet::stable(&[(OLD, 20)], waves(&["3", "50%"]));
    fleet.release(Version::good(2));
    let mut sizes = Vec::new();
    while fleet.status().stable_revision.as_deref() != Some(V2) {
        fleet.control();
        fleet.work_all();
        sizes.push(fleet.with(V2).len());
    }
    sizes.dedup();
    assert_eq!(sizes, [0, 3, 10, 20]);
    assert_eq!(fleet.status().phase, RolloutPhase::Idle);
    assert!(fleet.told.values().all(|told| told.len() == 1), "{:?}", fleet.told);
    assert_eq!(
        fleet.events,
        ["RolloutStarted", "WaveStarted", "WaveStarted", "WaveStarted", "RolloutFinished"]
    );
}

#[test]
fn failing_wave_rolls_back_and_reaches_no_other_node() {
    let mut fleet = Fleet::stable(&[(OLD, 10), (NEW, 10)], waves(&["4", "12"]));
    let broken = Version { refused_by: [OLD.to_owned()].into(), ..Version::good(2) };
    fleet.seen.rollout.preflight = Preflight::Never;
    fleet.release(broken);
    assert!(fleet.settle());
    assert_eq!(fleet.status().phase, RolloutPhase::Idle);
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V1).len(), 20);
    assert!(fleet.told.len() <= 12, "{:?}", fleet.told);
    assert!(fleet.told.values().all(|told| told == &[V2, V1]), "{:?}", fleet.told);
    assert!(fleet.events.ends_with(&["RollingBack", "RolledBack"]), "{:?}", fleet.events);
    fleet.pass(10_000);
    assert!(fleet.control().orders.is_empty());
    fleet.versions.last_mut().unwrap().refused_by.clear();
    fleet.say(RolloutCommand::Promote);
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn a_first_rollout_that_fails_stays_where_it_is() {
    let mut fleet = Fleet::new(&[(OLD, 6)], waves(&["2"]));
    fleet.release(Version { fails_on: names(0..6), ..Version::good(1) });
    assert!(fleet.settle());
    assert_eq!(fleet.status().phase, RolloutPhase::Failed);
    assert_eq!(fleet.with(V1).len(), 2);
    assert!(fleet.status().message.contains("no earlier revision"), "{}", fleet.status().message);
    fleet.release(Version::good(2));
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn with_pause_a_failed_wave_waits_and_promote_accepts_it() {
    let rollout =
        Rollout { on_failure: OnFailure::Pause, max_unavailable: Some(amount("2")), ..waves(&["6"]) };
    let mut fleet = Fleet::stable(&[(OLD, 10)], rollout);
    fleet.release(Version { fails_on: names(0..2), ..Version::good(2) });
    assert!(fleet.settle());
    assert_eq!(fleet.status().phase, RolloutPhase::Failed);
    for _ in 0..2 {
        fleet.say(RolloutCommand::Promote);
        assert!(fleet.settle());
    }
    assert_eq!(fleet.status().phase, RolloutPhase::Idle, "{:?}", fleet.status());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V2).len(), 10);
}

#[test]
fn abort_takes_every_node_back_at_once() {
    let rollout = Rollout { manual: true, max_unavailable: Some(amount("1")), ..waves(&["5"]) };
    let mut fleet = Fleet::stable(&[(OLD, 10)], rollout);
    fleet.release(Version::good(2));
    while fleet.status().phase != RolloutPhase::AwaitingPromotion {
        fleet.control();
        fleet.work_all();
    }
    fleet.say(RolloutCommand::Abort);
    assert_eq!(fleet.control().orders.len(), 5);
    assert!(fleet.settle());
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V1).len(), 10);
}

#[test]
fn a_manual_rollout_waits_for_promote_after_each_wave() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], Rollout { manual: true, ..waves(&["1", "2"]) });
    fleet.release(Version::good(2));
    for expected in [1, 2, 4] {
        while fleet.status().phase != RolloutPhase::AwaitingPromotion {
            fleet.control();
            fleet.work_all();
        }
        assert_eq!(fleet.with(V2).len(), expected);
        fleet.pass(100_000);
        assert!(fleet.control().orders.is_empty());
        fleet.say(RolloutCommand::Promote);
        fleet.control();
    }
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn a_wave_soaks_and_promote_ends_the_soak() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], Rollout { soak_seconds: 600, ..waves(&["1"]) });
    fleet.release(Version::good(2));
    for _ in 0..5 {
        fleet.control();
        fleet.work_all();
    }
    assert_eq!(fleet.status().phase, RolloutPhase::Soaking);
    fleet.pass(599);
    assert!(fleet.control().orders.is_empty());
    fleet.pass(1);
    assert_eq!(fleet.control().orders.len(), 3);
    fleet.work_all();
    fleet.control();
    fleet.say(RolloutCommand::Promote);
    fleet.control();
    assert_eq!(fleet.status().phase, RolloutPhase::Idle);
}

#[test]
fn a_broken_gate_takes_the_wave_back() {
    let rollout = Rollout { gates: Some(Gates::default()), soak_seconds: 60, ..waves(&["5"]) };
    let mut fleet = Fleet::stable(&[(OLD, 10)], rollout);
    fleet.release(Version { slow_on: names(0..10), ..Version::good(2) });
    assert!(fleet.settle());
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert!(fleet.status().message.contains("900 ns"), "{}", fleet.status().message);
    assert_eq!(fleet.told.len(), 5);
    assert!(fleet.seen.nodes.values().all(|node| node.orders.soak.is_none()));
}

#[test]
fn as_many_failures_as_allowed_do_not_stop_it() {
    let mut fleet = Fleet::stable(&[(OLD, 10)], Rollout { max_failed: Some(amount("20%")), ..waves(&["5"]) });
    fleet.release(Version { fails_on: names(0..2), ..Version::good(2) });
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn while_paused_nothing_changes() {
    let mut fleet = Fleet::stable(&[(OLD, 10)], waves(&["5"]));
    fleet.release(Version::good(2));
    fleet.control();
    fleet.work_all();
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 5);
    fleet.seen.rollout.paused = true;
    fleet.pass(100_000);
    fleet.work_all();
    fleet.control();
    assert_eq!(fleet.status().phase, RolloutPhase::Paused);
    assert_eq!(fleet.with(V2).len(), 5);
    fleet.seen.rollout.paused = false;
    assert!(fleet.settle());
    assert_eq!(fleet.with(V2).len(), 10);
}

#[test]
fn new_spec_restarts_with_the_nodes_left_in_between() {
    let mut fleet = Fleet::stable(&[(OLD, 12)], waves(&["3", "6"]));
    fleet.release(Version::good(2));
    fleet.control();
    fleet.work_all();
    fleet.control();
    let half_way: Vec<String> = fleet.with(V2).iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(half_way.len(), 3);
    fleet.release(Version::good(3));
    fleet.control();
    fleet.work_all();
    fleet.control();
    assert_eq!(fleet.with("app-0000000003"), half_way);
    fleet.release(Version::good(1));
    assert!(fleet.settle());
    assert_eq!(fleet.with(V1).len(), 12);
    assert_eq!(fleet.status().failed_revision, None);
}

#[test]
fn command_without_effect_is_reported_once() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.say(RolloutCommand::Abort);
    fleet.control();
    fleet.control();
    assert_eq!(fleet.events, ["NothingToDo"]);
}

#[test]
fn orders_are_taken_back_when_there_is_no_rollout_any_more() {
    let fleet = Fleet::stable(&[(OLD, 3)], waves(&[]));
    let orders = fleet.seen.nodes.iter().map(|(name, node)| (name.clone(), node.orders.clone())).collect();
    let cleared = clear(&orders);
    assert_eq!(cleared.len(), 3);
    assert!(cleared.values().all(|orders| orders.revision.is_none()));
    assert!(clear(&cleared).is_empty());
}

use std::collections::BTreeSet;

use bpfman_application::rollout::{Rollout, RolloutPhase};
use bpfman_operator::rollout::command::RolloutCommand;

use super::fleet::{Fleet, OLD, V1, V2, Version, amount, node_name, waves};

#[test]
fn silent_node_fails_the_wave_at_its_deadline() {
    let mut fleet = Fleet::stable(&[(OLD, 3)], waves(&[]));
    fleet.release(Version::good(2));
    fleet.control();
    fleet.work_all();
    fleet.control();
    fleet.silent.insert(node_name(1));
    fleet.work_all();
    fleet.pass(299);
    fleet.control();
    assert_eq!(fleet.status().phase, RolloutPhase::Progressing);
    fleet.pass(1);
    fleet.control();
    assert_eq!(fleet.status().phase, RolloutPhase::RollingBack);
    assert!(fleet.status().message.contains("node-001"), "{}", fleet.status().message);
}

#[test]
fn a_node_that_joins_gets_what_is_known_to_work() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], Rollout { manual: true, ..waves(&["2"]) });
    fleet.release(Version::good(2));
    for _ in 0..4 {
        fleet.control();
        fleet.work_all();
    }
    let joined = fleet.join(OLD);
    fleet.control();
    assert_eq!(fleet.told[&joined], [V1]);
    fleet.say(RolloutCommand::Promote);
    fleet.control();
    fleet.work_all();
    fleet.control();
    fleet.say(RolloutCommand::Promote);
    assert!(fleet.settle());
    let joined = fleet.join(OLD);
    fleet.control();
    assert_eq!(fleet.told[&joined], [V2]);
}

#[test]
fn deselected_node_is_ordered_at_the_end() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.release(Version::good(2));
    fleet.seen.nodes.get_mut("node-000").unwrap().selected = false;
    assert!(fleet.settle());
    assert_eq!(fleet.told["node-000"], [V2]);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn a_node_away_during_the_rollout_gets_it_when_it_is_back() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.seen.nodes.get_mut("node-000").unwrap().present = false;
    fleet.release(Version::good(2));
    assert!(fleet.settle());
    assert_eq!(fleet.with(V2).len(), 3);
    fleet.seen.nodes.get_mut("node-000").unwrap().present = true;
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 4);
}

fn cut_in_the_first_wave(version: Version) -> Fleet {
    let mut fleet =
        Fleet::stable(&[(OLD, 40)], Rollout { max_failed: Some(amount("1")), ..waves(&["5%", "50%"]) });
    fleet.release(version);
    for _ in 0..2 {
        fleet.control();
        fleet.work_all();
    }
    let canaries: Vec<String> = fleet.with(V2).iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(canaries.len(), 2);
    let mut left = 8;
    for (name, node) in &mut fleet.seen.nodes {
        node.present = canaries.contains(name) || left > 0;
        left -= usize::from(node.present && !canaries.contains(name) && left > 0);
    }
    for _ in 0..100 {
        fleet.control();
        fleet.work_all();
        fleet.pass(60);
    }
    fleet
}

#[test]
fn reachable_half_of_a_partitioned_fleet_is_not_the_whole() {
    let mut fleet = cut_in_the_first_wave(Version::good(2));
    assert_eq!(fleet.with(V2).len(), 10);
    assert_eq!(fleet.status().phase, RolloutPhase::Progressing);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V1));
    let message = &fleet.status().message;
    assert!(message.contains("waits for nodes that are away") && message.contains("30 of 40"), "{message}");
    fleet.heal();
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 20);
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V2).len(), 40);
}

#[test]
fn failure_of_partitioned_nodes_is_found_in_their_wave() {
    let mut fleet = cut_in_the_first_wave(Version::good(2));
    let broken = fleet.seen.nodes.iter().filter(|(_, node)| !node.present).map(|(name, _)| name.clone());
    fleet.versions.last_mut().unwrap().fails_on = broken.collect();
    fleet.heal();
    assert!(fleet.settle());
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V1).len(), 40);
    assert_eq!(fleet.told.len(), 20, "{:?}", fleet.told);
}

#[test]
fn promote_continues_without_absent_nodes_which_follow_in_steps() {
    let mut fleet = cut_in_the_first_wave(Version::good(2));
    for _ in 0..2 {
        fleet.say(RolloutCommand::Promote);
        fleet.control();
    }
    assert_eq!(fleet.status().phase, RolloutPhase::Idle, "{:?}", fleet.status());
    assert!(fleet.status().message.contains("but 30 that are away"), "{}", fleet.status().message);
    fleet.heal();
    let mut sizes = Vec::new();
    while fleet.with(V2).len() < 40 {
        fleet.control();
        sizes.push(fleet.with(V2).len());
        fleet.control();
        assert_eq!(fleet.with(V2).len(), *sizes.last().unwrap());
        fleet.work_all();
    }
    assert_eq!(sizes[..3], [12, 14, 16]);
}

#[test]
fn node_that_returns_with_a_failed_revision_rolls_back_at_once() {
    let mut fleet = Fleet::stable(&[(OLD, 20)], waves(&["1", "12"]));
    fleet.release(Version::good(2));
    while fleet.with(V2).len() < 12 {
        fleet.control();
        fleet.work_all();
    }
    let ahead: BTreeSet<String> = fleet.with(V2).iter().map(|name| (*name).to_owned()).collect();
    for name in &ahead {
        fleet.seen.nodes.get_mut(name).unwrap().present = false;
    }
    fleet.say(RolloutCommand::Abort);
    fleet.control_and_stop_after(4);
    assert!(fleet.settle());
    fleet.heal();
    fleet.control();
    assert_eq!(fleet.with(V1).len(), 20);
}

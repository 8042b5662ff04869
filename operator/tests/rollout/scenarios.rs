//! What a user would tell of a rollout.

use std::collections::BTreeSet;

use bpfman_application::rollout::{Gates, OnFailure, Preflight, PreflightVerdict, Rollout, RolloutPhase};
use bpfman_operator::rollout::command::Command;
use bpfman_operator::rollout::{clear, revision};

use crate::fleet::{Fleet, Version, amount, node_name};

const V1: &str = "app-0000000001";
const V2: &str = "app-0000000002";
const OLD: &str = "6.1.0";
const NEW: &str = "6.12.0";

fn waves(amounts: &[&str]) -> Rollout {
    Rollout {
        waves: amounts.iter().map(|text| amount(text)).collect(),
        progress_deadline_seconds: 300,
        ..Rollout::default()
    }
}

fn names(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(node_name).collect()
}

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
fn a_kernel_that_refuses_in_the_preflight_stops_before_anything_is_attached() {
    let mut fleet = Fleet::stable(&[(OLD, 5), (NEW, 5)], waves(&["3"]));
    fleet.release(Version { refused_by: [OLD.to_owned()].into(), ..Version::good(2) });
    assert!(fleet.settle());
    assert_eq!(fleet.status().phase, RolloutPhase::Failed);
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert!(fleet.told.is_empty());
    assert!(fleet.seen.nodes.values().all(|node| node.orders.preflight.is_none()));
    let table = &fleet.status().preflight;
    assert_eq!(table.len(), 2);
    let verdict = |kernel: &str| table.iter().find(|group| group.kernel == kernel).unwrap().verdict;
    assert_eq!(verdict(OLD), PreflightVerdict::Failed);
    assert_eq!(verdict(NEW), PreflightVerdict::Passed);
    assert!(fleet.status().message.contains("R1 invalid mem access"), "{}", fleet.status().message);
}

#[test]
fn a_promoted_preflight_is_not_asked_again() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["1"]));
    fleet.release(Version { refused_by: [OLD.to_owned()].into(), ..Version::good(2) });
    fleet.settle();
    fleet.say(Command::Promote);
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 1);
    fleet.settle();
    assert_eq!(fleet.status().phase, RolloutPhase::Idle);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V1));
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
}

#[test]
fn a_failing_wave_goes_back_by_itself_and_no_other_node_ever_had_it() {
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
    // It is not tried again by itself.
    fleet.pass(10_000);
    assert!(fleet.control().orders.is_empty());
    // It is when someone says so.
    fleet.versions.last_mut().unwrap().refused_by.clear();
    fleet.say(Command::Promote);
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
    // Each of the two may be in a wave of its own.
    for _ in 0..2 {
        fleet.say(Command::Promote);
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
    fleet.say(Command::Abort);
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
        fleet.say(Command::Promote);
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
    fleet.say(Command::Promote);
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
fn a_node_that_says_nothing_fails_the_wave_at_its_deadline() {
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
fn a_new_spec_starts_over_with_the_nodes_that_were_left_half_way() {
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
    fleet.say(Command::Promote);
    fleet.control();
    fleet.work_all();
    fleet.control();
    fleet.say(Command::Promote);
    assert!(fleet.settle());
    let joined = fleet.join(OLD);
    fleet.control();
    assert_eq!(fleet.told[&joined], [V2]);
}

#[test]
fn a_kernel_that_joins_during_the_waves_tries_first() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.release(Version { refused_by: [NEW.to_owned()].into(), ..Version::good(2) });
    fleet.control();
    fleet.work_all();
    fleet.control();
    let joined = fleet.join(NEW);
    assert!(fleet.settle());
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
    assert_eq!(fleet.told[&joined], [V1]);
}

#[test]
fn another_node_tries_for_one_that_is_gone() {
    let mut fleet = Fleet::stable(&[(OLD, 3)], waves(&[]));
    fleet.release(Version::good(2));
    fleet.control();
    let first = fleet.status().preflight[0].node.clone();
    fleet.seen.nodes.remove(&first);
    fleet.control();
    let second = fleet.status().preflight[0].node.clone();
    assert_ne!(first, second);
    assert!(fleet.settle());
    assert_eq!(fleet.with(V2).len(), 2);
}

#[test]
fn every_node_gets_the_digest_that_the_preflight_found() {
    let digest = |text: &str| Some(format!("sha256:{}", text.repeat(32)));
    let mut fleet = Fleet::stable(&[(OLD, 4), (NEW, 4)], waves(&["2"]));
    fleet.release(Version { digest: digest("ab"), ..Version::good(2) });
    assert!(fleet.settle());
    let pinned = revision::pinned(V2, &digest("ab").unwrap());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(pinned.as_str()));
    assert!(fleet.told.values().all(|told| told == &[pinned.as_str()]), "{:?}", fleet.told);
}

#[test]
fn a_tag_that_moves_between_two_answers_is_tried_again_by_its_digest() {
    let digest = |text: &str| Some(format!("sha256:{}", text.repeat(32)));
    let mut fleet = Fleet::stable(&[(OLD, 2), (NEW, 2)], waves(&["2"]));
    fleet.release(Version { digest: digest("ab"), ..Version::good(2) });
    fleet.control();
    let [first, second] = [0, 1].map(|at: usize| fleet.status().preflight[at].node.clone());
    fleet.work(&first);
    fleet.versions.last_mut().unwrap().digest = digest("cd");
    fleet.work(&second);
    fleet.control();
    let pinned = revision::pinned(V2, &digest("ab").unwrap());
    assert_eq!(fleet.status().target_revision.as_deref(), Some(pinned.as_str()));
    assert_eq!(fleet.seen.nodes[&second].orders.preflight.as_deref(), Some(pinned.as_str()));
    assert_eq!(fleet.status().phase, RolloutPhase::Preflight);
    // A digest means one image: what the tag names now is another matter.
    fleet.versions.last_mut().unwrap().digest = digest("ab");
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(pinned.as_str()));
}

#[test]
fn without_a_preflight_the_first_node_that_runs_it_tells_the_digest() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let mut fleet = Fleet::stable(&[(OLD, 6)], Rollout { preflight: Preflight::Never, ..waves(&["1"]) });
    fleet.release(Version { digest: Some(digest.clone()), ..Version::good(2) });
    assert!(fleet.settle());
    let pinned = revision::pinned(V2, &digest);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(pinned.as_str()));
    let by_tag = fleet.told.values().filter(|told| ***told == [V2]).count();
    let by_digest = fleet.told.values().filter(|told| ***told == [pinned.as_str()]).count();
    assert_eq!((by_tag, by_digest), (1, 5), "{:?}", fleet.told);
}

#[test]
fn a_node_that_is_not_selected_any_more_hears_of_it_at_the_end() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.release(Version::good(2));
    fleet.seen.nodes.get_mut("node-000").unwrap().selected = false;
    assert!(fleet.settle());
    assert_eq!(fleet.told["node-000"], [V2]);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
}

#[test]
fn a_rehearsal_of_someone_else_is_left_alone() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    let rehearsal = Some("app-rehearsal-1".to_owned());
    fleet.seen.nodes.get_mut("node-000").unwrap().orders.preflight.clone_from(&rehearsal);
    assert!(fleet.control().orders.is_empty());
    fleet.seen.nodes.get_mut("node-001").unwrap().orders.preflight = Some(V1.to_owned());
    fleet.control();
    assert_eq!(fleet.seen.nodes["node-000"].orders.preflight, rehearsal);
    assert_eq!(fleet.seen.nodes["node-001"].orders.preflight, None);
}

#[test]
fn a_command_that_has_nothing_to_do_says_so_once() {
    let mut fleet = Fleet::stable(&[(OLD, 4)], waves(&["2"]));
    fleet.say(Command::Abort);
    fleet.control();
    fleet.control();
    assert_eq!(fleet.events, ["NothingToDo"]);
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

/// Forty nodes of which the first two have the second version when all but ten are cut off.
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
fn the_rest_of_a_fleet_that_is_cut_in_two_is_not_taken_for_all_of_it() {
    let mut fleet = cut_in_the_first_wave(Version::good(2));
    assert_eq!(fleet.with(V2).len(), 10);
    assert_eq!(fleet.status().phase, RolloutPhase::Progressing);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V1));
    let message = &fleet.status().message;
    assert!(message.contains("waits for nodes that are away") && message.contains("30 of 40"), "{message}");
    // Whoever comes back gets what is left of the second wave, and then the third.
    fleet.heal();
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 20);
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V2));
    assert_eq!(fleet.with(V2).len(), 40);
}

#[test]
fn what_breaks_the_nodes_that_were_cut_off_is_found_in_their_wave() {
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
fn promote_goes_on_without_the_nodes_that_are_away_and_they_follow_a_few_at_a_time() {
    let mut fleet = cut_in_the_first_wave(Version::good(2));
    for _ in 0..2 {
        fleet.say(Command::Promote);
        fleet.control();
    }
    assert_eq!(fleet.status().phase, RolloutPhase::Idle, "{:?}", fleet.status());
    assert!(fleet.status().message.contains("but 30 that are away"), "{}", fleet.status().message);
    fleet.heal();
    let mut sizes = Vec::new();
    while fleet.with(V2).len() < 40 {
        fleet.control();
        sizes.push(fleet.with(V2).len());
        // Until they answered nobody follows.
        fleet.control();
        assert_eq!(fleet.with(V2).len(), *sizes.last().unwrap());
        fleet.work_all();
    }
    assert_eq!(sizes[..3], [12, 14, 16]);
}

#[test]
fn a_node_that_comes_back_late_with_what_failed_goes_back_at_once() {
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
    fleet.say(Command::Abort);
    // Stopped after the status and three orders: the others have not been told yet.
    fleet.control_and_stop_after(4);
    assert!(fleet.settle());
    fleet.heal();
    fleet.control();
    assert_eq!(fleet.with(V1).len(), 20);
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

use bpfman_application::rollout::{Preflight, PreflightVerdict, Rollout, RolloutPhase};
use bpfman_operator::rollout::command::RolloutCommand;
use bpfman_operator::rollout::revision;

use super::fleet::{Fleet, NEW, OLD, V1, V2, Version, waves};

#[test]
fn kernel_rejection_in_preflight_stops_before_any_attachment() {
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
    fleet.say(RolloutCommand::Promote);
    fleet.control();
    assert_eq!(fleet.with(V2).len(), 1);
    fleet.settle();
    assert_eq!(fleet.status().phase, RolloutPhase::Idle);
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(V1));
    assert_eq!(fleet.status().failed_revision.as_deref(), Some(V2));
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
fn tag_that_moves_between_two_answers_is_retried_by_digest() {
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
    fleet.versions.last_mut().unwrap().digest = digest("ab");
    assert!(fleet.settle());
    assert_eq!(fleet.status().stable_revision.as_deref(), Some(pinned.as_str()));
}

#[test]
fn without_preflight_the_first_running_node_reports_the_digest() {
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

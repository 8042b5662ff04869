use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::controller::memory::Memory;
use crate::controller::memory::tests::fixture::{agent, application, empty, id, node, state};
use bpfman_application::scope::Scope;

fn cluster() -> Memory {
    let mut memory = empty();
    let spec = json!({ "nodeSelector": { "matchLabels": { "tier": "edge" } } });
    memory.application(Scope::Cluster, Event::Apply(application("a", 1, spec)));
    for name in ["n1", "n2", "n3", "n4"] {
        memory.node(Event::Apply(node(name, json!({ "tier": "edge" }))));
        memory.agent(Event::Apply(agent(name, "True")));
    }
    memory.node(Event::Apply(node("core", json!({ "tier": "core" }))));
    memory
}

fn say(memory: &mut Memory, node: &str, condition: &str, more: Value) {
    memory.answer(Scope::Cluster, Event::Apply(state("a", node, condition, more)));
}

fn sum(memory: &Memory) -> Sum {
    summarize(memory.view(&id("a")).unwrap(), &ComparedRevision::Spec, Presence::ByPod)
}

fn failure(reason: &str, message: &str) -> Value {
    json!({ "failure": { "reason": reason, "message": message } })
}

#[test]
fn nodes_without_a_state_yet_are_waited_for() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3"] {
        say(&mut memory, name, "Success", json!({}));
    }
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.wanted, sum.summary.healthy), (ApplicationVerdict::Pending, 4, 3));
    assert!(sum.message.contains("Waiting for n4."), "{}", sum.message);
}

#[test]
fn application_succeeds_when_all_selected_nodes_do() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({}));
    }
    say(&mut memory, "core", "Success", json!({ "appLoadStatus": "NotSelected" }));
    let sum = sum(&memory);
    assert_eq!(
        (sum.verdict, &*sum.summary.ready, sum.summary.updated),
        (ApplicationVerdict::Success, "4/4", 4)
    );
}

#[test]
fn selector_that_matches_no_node_is_mentioned_with_success() {
    let mut memory = cluster();
    let both =
        json!({ "unmatched": ["one: xdp.links[0].networkNamespaces", "two: uprobe.links[0].containers"] });
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", both.clone());
    }
    say(&mut memory, "n2", "Success", json!({ "unmatched": ["two: uprobe.links[0].containers"] }));
    let lacking = sum(&memory);
    assert_eq!((lacking.verdict, lacking.reason), (ApplicationVerdict::Success, SELECTS_NOTHING));
    let says = "no pod or container on any of them is selected by two: uprobe.links[0].containers.";
    assert!(lacking.message.ends_with(says), "{}", lacking.message);
    say(&mut memory, "n4", "Success", json!({}));
    assert_eq!((sum(&memory).verdict, sum(&memory).reason), (ApplicationVerdict::Success, "Success"));
}

#[test]
fn failures_of_an_older_spec_are_no_verdict() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3"] {
        say(&mut memory, name, "Success", json!({}));
    }
    let mut old = failure("kernel-refused", "R1 invalid mem access");
    old["observedRevision"] = json!("0");
    say(&mut memory, "n4", "Error", old);
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.failed), (ApplicationVerdict::Pending, 1));
    assert!(sum.message.contains("Failed with what they had before: app-a-n4."), "{}", sum.message);
    assert!(sum.message.contains("R1 invalid mem access"), "{}", sum.message);
}

#[test]
fn a_wave_that_soaks_may_still_go_back() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({ "observedRevision": "r2" }));
    }
    let view = memory.view(&id("a")).unwrap();
    for phase in [RolloutPhase::Soaking, RolloutPhase::AwaitingPromotion, RolloutPhase::Paused] {
        let rollout = RolloutStatus {
            phase,
            target_revision: Some("r2".into()),
            wave: 2,
            waves: 2,
            message: "4 nodes have to stay well".into(),
            ..RolloutStatus::default()
        };
        let sum = summarize(view, &ComparedRevision::of(Some(rollout)), Presence::ByPod);
        assert_eq!(sum.verdict, ApplicationVerdict::Pending, "{phase:?}");
        assert!(sum.message.starts_with("4 of 4 nodes are done. Rollout, wave 2 of 2: "), "{}", sum.message);
    }
}

#[test]
fn nodes_with_the_revision_of_an_unpinned_tag_are_up_to_date() {
    let (mut memory, digest) = (cluster(), format!("sha256:{}", "0123456789ab".repeat(5)));
    let plain = revision::name("a", "uid", &json!({}));
    let rollout = RolloutStatus {
        phase: RolloutPhase::Idle,
        stable_revision: Some(revision::pinned(&plain, &digest)),
        ..RolloutStatus::default()
    };
    let compared = ComparedRevision::of(Some(rollout));
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({ "observedRevision": plain }));
    }
    let all = summarize(memory.view(&id("a")).unwrap(), &compared, Presence::ByPod);
    assert_eq!((all.verdict, all.summary.updated), (ApplicationVerdict::Success, 4));
    let other = json!({ "observedRevision": plain, "digest": format!("sha256:{}", "f".repeat(64)) });
    say(&mut memory, "n4", "Success", other);
    let all = summarize(memory.view(&id("a")).unwrap(), &compared, Presence::ByPod);
    assert_eq!((all.verdict, all.summary.updated), (ApplicationVerdict::Pending, 3));
}

#[test]
fn an_answer_about_an_older_generation_is_not_up_to_date() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3"] {
        say(&mut memory, name, "Success", json!({}));
    }
    say(&mut memory, "n4", "Success", json!({ "observedRevision": "0" }));
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.updated, sum.summary.healthy), (ApplicationVerdict::Pending, 3, 4));
}

#[test]
fn nodes_without_an_agent_are_named_and_block_nothing() {
    let mut memory = cluster();
    memory.node(Event::Apply(node("bare", json!({ "tier": "edge" }))));
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({}));
    }
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.wanted), (ApplicationVerdict::Success, 4));
    assert!(sum.message.contains("no agent is ready there: bare."), "{}", sum.message);
}

#[test]
fn without_any_agent_it_stays_pending_and_says_why() {
    let mut memory = empty();
    memory.application(Scope::Cluster, Event::Apply(application("a", 1, json!({ "nodeSelector": {} }))));
    memory.node(Event::Apply(node("bare", json!({}))));
    let sum = sum(&memory);
    assert_eq!(sum.verdict, ApplicationVerdict::Pending);
    assert!(sum.message.contains("No node that is selected has an agent"), "{}", sum.message);
    let everywhere = summarize(memory.view(&id("a")).unwrap(), &ComparedRevision::Spec, Presence::Everywhere);
    assert_eq!(everywhere.summary.wanted, 1);
}

#[test]
fn failures_are_grouped_by_cause_and_kernel_most_frequent_first() {
    let mut memory = cluster();
    let mut old = failure("kernel-refused", "R1 invalid mem access\nprocessed 12 insns");
    old["kernel"] = json!("5.10.0");
    say(&mut memory, "n1", "Error", failure("signature", "no signature"));
    say(&mut memory, "n3", "Error", old.clone());
    say(&mut memory, "n2", "Error", old);
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.failed), (ApplicationVerdict::Error, 3));
    let causes = &sum.summary.causes;
    assert_eq!(causes.len(), 2);
    assert_eq!((&*causes[0].reason, &*causes[0].kernel, causes[0].nodes), ("kernel-refused", "5.10.0", 2));
    assert_eq!((&*causes[0].example, &*causes[0].message), ("n2", "R1 invalid mem access"));
    assert!(sum.message.starts_with("3 of 4 nodes failed: app-a-n1, app-a-n2, app-a-n3."), "{}", sum.message);
}

#[test]
fn the_order_of_answers_changes_nothing() {
    let answers = [("n1", "a"), ("n2", "b"), ("n3", "b"), ("n4", "a")];
    let sums = [answers, [answers[3], answers[1], answers[0], answers[2]]].map(|answers| {
        let mut memory = cluster();
        for (node, reason) in answers {
            say(&mut memory, node, "Error", failure(reason, &format!("on {node}")));
        }
        sum(&memory)
    });
    assert_eq!(sums[0], sums[1]);
}

#[test]
fn more_than_twenty_causes_are_cut() {
    let mut memory = cluster();
    for number in 0..30 {
        let name = format!("x{number:02}");
        memory.node(Event::Apply(node(&name, json!({ "tier": "edge" }))));
        say(&mut memory, &name, "Error", failure(&format!("cause-{number:02}"), ""));
    }
    assert_eq!(sum(&memory).summary.causes.len(), CAUSES);
}

#[test]
fn deselected_node_is_shown_if_unloading_failed() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({}));
    }
    say(&mut memory, "core", "Error", failure("busy", "it does not come off"));
    let sum = sum(&memory);
    assert_eq!((sum.verdict, sum.summary.failed, sum.summary.wanted), (ApplicationVerdict::Error, 0, 4));
    assert_eq!(sum.summary.causes[0].example, "core");
}

#[test]
fn a_selector_that_selects_nothing_is_a_success() {
    let mut memory = cluster();
    let spec = json!({ "nodeSelector": { "matchLabels": { "tier": "none" } } });
    memory.application(Scope::Cluster, Event::Apply(application("a", 2, spec)));
    assert_eq!(
        (sum(&memory).verdict, &*sum(&memory).message),
        (ApplicationVerdict::Success, "No node is selected.")
    );
}

#[test]
fn a_selector_that_cannot_be_read_is_an_error() {
    let mut memory = cluster();
    let spec = json!({ "nodeSelector": { "matchExpressions": [{ "key": "tier", "operator": "Near" }] } });
    memory.application(Scope::Cluster, Event::Apply(application("a", 2, spec)));
    let sum = sum(&memory);
    assert_eq!(sum.verdict, ApplicationVerdict::Error);
    assert!(sum.message.contains("`Near` of `tier`"), "{}", sum.message);
}

#[test]
fn deleted_application_names_nodes_that_hold_it() {
    let mut memory = cluster();
    say(&mut memory, "n1", "Error", failure("daemon-away", "no such socket"));
    let mut deleting = application("a", 2, json!({ "nodeSelector": {} }));
    deleting.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    memory.application(Scope::Cluster, Event::Apply(deleting));
    let held = sum(&memory);
    assert_eq!((held.verdict, held.released), (ApplicationVerdict::DeleteError, false));
    assert!(held.message.contains("app-a-n1: daemon-away: no such socket"), "{}", held.message);
    memory.answer(Scope::Cluster, Event::Delete(state("a", "n1", "Error", json!({}))));
    assert!(sum(&memory).released);
}

#[test]
fn a_failed_rollout_is_an_error_though_every_node_is_healthy() {
    let mut memory = cluster();
    for name in ["n1", "n2", "n3", "n4"] {
        say(&mut memory, name, "Success", json!({ "observedRevision": "r1" }));
    }
    let mut rollout = RolloutStatus {
        phase: RolloutPhase::Idle,
        stable_revision: Some("r1".into()),
        message: "wave 1 failed".into(),
        ..RolloutStatus::default()
    };
    let view = memory.view(&id("a")).unwrap();
    let sum = |rollout: &RolloutStatus| {
        summarize(view, &ComparedRevision::of(Some(rollout.clone())), Presence::ByPod)
    };
    assert_eq!(sum(&rollout).verdict, ApplicationVerdict::Success);
    rollout.failed_revision = Some("r2".into());
    let sum = sum(&rollout);
    assert_eq!(
        (sum.verdict, &*sum.message),
        (ApplicationVerdict::Error, "The rollout failed: wave 1 failed")
    );
}

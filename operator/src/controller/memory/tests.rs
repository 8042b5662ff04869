pub mod fixture;

use kube::runtime::watcher::Event;
use serde_json::json;

use self::fixture::{agent, application, empty, id, node, state};
use super::*;

fn changed(memory: &mut Memory) -> Vec<String> {
    memory.changed().applications.iter().map(ToString::to_string).collect()
}

fn two() -> Memory {
    let mut memory = empty();
    let edge = json!({ "nodeSelector": { "matchLabels": { "tier": "edge" } } });
    memory.application(Scope::Cluster, Event::Apply(application("all", 1, json!({ "nodeSelector": {} }))));
    memory.application(Scope::Cluster, Event::Apply(application("edge", 1, edge)));
    memory.node(Event::Apply(node("n1", json!({ "tier": "core" }))));
    memory.changed();
    memory
}

#[test]
fn an_answer_touches_its_application_only() {
    let mut memory = two();
    memory.answer(Scope::Cluster, Event::Apply(state("all", "n1", "Success", json!({}))));
    assert_eq!(changed(&mut memory), ["all"]);
}

#[test]
fn the_same_answer_again_touches_nothing() {
    let mut memory = two();
    let answer = state("all", "n1", "Success", json!({}));
    memory.answer(Scope::Cluster, Event::Apply(answer.clone()));
    memory.changed();
    memory.answer(Scope::Cluster, Event::Apply(answer));
    assert_eq!(changed(&mut memory), Vec::<String>::new());
}

#[test]
fn a_heartbeat_of_a_node_touches_nothing() {
    let mut memory = two();
    memory.node(Event::Apply(node("n1", json!({ "tier": "core" }))));
    assert_eq!(changed(&mut memory), Vec::<String>::new());
}

#[test]
fn a_new_label_touches_the_applications_that_select_by_it() {
    let mut memory = two();
    memory.node(Event::Apply(node("n1", json!({ "tier": "edge" }))));
    assert_eq!(changed(&mut memory), ["edge"]);
}

#[test]
fn object_deleted_without_watch_is_gone_after_list() {
    let mut memory = two();
    for name in ["n1", "n2"] {
        memory.answer(Scope::Cluster, Event::Apply(state("all", name, "Success", json!({}))));
    }
    memory.changed();
    memory.answer(Scope::Cluster, Event::Init);
    memory.answer(Scope::Cluster, Event::InitApply(state("all", "n2", "Success", json!({}))));
    assert_eq!(memory.view(&id("all")).unwrap().answers().count(), 2);
    memory.answer(Scope::Cluster, Event::InitDone);
    assert_eq!(changed(&mut memory), ["all"]);
    let left: Vec<&str> = memory.view(&id("all")).unwrap().answers().map(|answer| &*answer.node).collect();
    assert_eq!(left, ["n2"]);
}

#[test]
fn a_list_of_one_kind_takes_nothing_from_the_other() {
    let mut memory = two();
    memory.answer(Scope::Cluster, Event::Apply(state("all", "n1", "Success", json!({}))));
    memory.application(Scope::Namespaced, Event::Init);
    memory.application(Scope::Namespaced, Event::InitDone);
    memory.answer(Scope::Namespaced, Event::Init);
    memory.answer(Scope::Namespaced, Event::InitDone);
    assert_eq!(memory.view(&id("all")).unwrap().answers().count(), 1);
}

#[test]
fn applications_and_nodes_that_are_not_listed_again_are_gone() {
    let mut memory = two();
    memory.application(Scope::Cluster, Event::Init);
    memory
        .application(Scope::Cluster, Event::InitApply(application("all", 1, json!({ "nodeSelector": {} }))));
    memory.application(Scope::Cluster, Event::InitDone);
    assert!(memory.view(&id("edge")).is_none() && memory.view(&id("all")).is_some());
    memory.node(Event::Init);
    memory.node(Event::InitDone);
    assert!(memory.changed().lost_nodes.iter().any(|node| &**node == "n1"));
}

#[test]
fn nothing_is_known_to_be_missing_before_everything_was_listed() {
    let mut memory = Memory::default();
    assert!(!memory.complete());
    memory.answer(Scope::Cluster, Event::Init);
    memory.answer(Scope::Cluster, Event::InitApply(state("all", "n1", "Success", json!({}))));
    memory.answer(Scope::Cluster, Event::InitDone);
    assert!(memory.changed().lost_nodes.is_empty(), "the nodes were not listed yet");
    memory.node(Event::Init);
    memory.node(Event::InitDone);
    assert!(memory.changed().lost_nodes.iter().any(|node| &**node == "n1"));
    assert!(!memory.complete());
}

#[test]
fn a_watch_that_lags_does_not_take_back_what_we_wrote() {
    let mut memory = two();
    let written =
        TrackedApplication::new(Scope::Cluster, application("all", 12, json!({ "new": true }))).unwrap();
    memory.written(written);
    memory.changed();
    memory.application(Scope::Cluster, Event::Apply(application("all", 11, json!({}))));
    assert_eq!(changed(&mut memory), Vec::<String>::new());
    assert_eq!(memory.view(&id("all")).unwrap().application.resource_version, "12");
}

#[test]
fn an_agent_counts_while_its_pod_is_ready() {
    let mut memory = two();
    memory.agent(Event::Apply(agent("n1", "False")));
    assert_eq!(memory.agents().count(), 0);
    memory.agent(Event::Apply(agent("n1", "True")));
    assert_eq!(memory.agents().count(), 1);
    assert_eq!(changed(&mut memory).len(), 2);
    memory.agent(Event::Delete(agent("n1", "True")));
    assert_eq!(memory.agents().count(), 0);
}

#[test]
fn an_answer_without_an_application_is_kept_until_it_goes() {
    let mut memory = two();
    memory.answer(Scope::Cluster, Event::Apply(state("gone", "n9", "Success", json!({}))));
    assert_eq!(memory.answers_of_node("n9").len(), 1);
    memory.answer(Scope::Cluster, Event::Delete(state("gone", "n9", "Success", json!({}))));
    assert!(memory.answers_of_node("n9").is_empty());
}

use kube::runtime::watcher::Event;
use serde_json::json;

use super::*;
use crate::controller::memory::Memory;
use crate::controller::memory::tests::fixture::{agent, application, empty, id, node, state};
use crate::controller::projection::wire::WireState;
use bpfman_application::scope::Scope;

fn memory(states: Vec<WireState>) -> Memory {
    let mut memory = empty();
    memory.application(Scope::Cluster, Event::Apply(application("u", 1, json!({ "nodeSelector": {} }))));
    memory.node(Event::Apply(node("n1", json!({}))));
    memory.agent(Event::Apply(agent("n1", "True")));
    for state in states {
        memory.answer(Scope::Cluster, Event::Apply(state));
    }
    memory
}

fn seen(memory: &Memory) -> BTreeMap<String, NodeView> {
    nodes(memory.view(&id("u")).unwrap(), Presence::ByPod)
}

#[test]
fn temporary_failures_are_waited_for_and_refusals_are_not() {
    let health = |reason: &str| {
        let failure = json!({ "failure": { "reason": reason, "message": "as it is" } });
        seen(&memory(vec![state("u", "n1", "Error", failure)]))["n1"].node.health
    };
    for passing in ["registry", "daemon-away", "attach-point", "not-found", "pull-secret", "busy"] {
        assert_eq!(health(passing), NodeHealth::Pending, "{passing}");
    }
    for lasting in ["kernel-refused", "signature", "denied", "invalid", "conflict", "unsupported"] {
        assert_eq!(health(lasting), NodeHealth::Failed, "{lasting}");
    }
}

fn of_the_agent_before(name: &str) -> WireState {
    let mut old = state("u", "n1", "Success", json!({}));
    old.metadata.name = Some(name.to_owned());
    let status = old.status.as_mut().unwrap();
    (status.kernel, status.boot_id) = (None, None);
    old
}

#[test]
fn of_two_state_objects_of_a_node_the_agents_one_gets_the_order() {
    for name in ["a", "z"] {
        let kept = state("u", "n1", "Pending", json!({ "bootId": "b1" }));
        for states in
            [vec![of_the_agent_before(name), kept.clone()], vec![kept.clone(), of_the_agent_before(name)]]
        {
            assert_eq!(&*seen(&memory(states))["n1"].object, "app-u-n1");
        }
    }
}

#[test]
fn an_object_of_an_earlier_boot_and_one_that_goes_count_last() {
    let named = |name: &str, boot: &str| {
        let mut state = state("u", "n1", "Success", json!({ "bootId": boot }));
        state.metadata.name = Some(name.to_owned());
        state
    };
    let memory_of = |states| seen(&memory(states))["n1"].object.to_string();
    assert_eq!(memory_of(vec![named("a", "b0"), named("z", "B1")]), "z");
    let mut deleting = named("a", "b1");
    deleting.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
    assert_eq!(memory_of(vec![deleting, named("z", "b0")]), "z");
}

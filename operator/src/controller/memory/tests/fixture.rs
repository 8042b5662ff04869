#![allow(clippy::unwrap_used, reason = "tests")]

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::controller::memory::Memory;
use crate::controller::projection::ApplicationId;
use crate::controller::projection::wire::{WireApplication, WireState};
use bpfman_application::scope::Scope;
use bpfman_runtime::wire::{WireNode, WirePod};

pub fn empty() -> Memory {
    let mut memory = Memory::default();
    for scope in Scope::ALL {
        memory.application(scope, Event::Init);
        memory.application(scope, Event::InitDone);
        memory.answer(scope, Event::Init);
        memory.answer(scope, Event::InitDone);
    }
    memory.node(Event::Init);
    memory.node(Event::InitDone);
    memory.agent(Event::Init);
    memory.agent(Event::InitDone);
    memory
}

pub fn application(uid: &str, version: u64, spec: Value) -> WireApplication {
    let metadata = json!({ "name": format!("app-{uid}"), "uid": uid, "generation": 1, "resourceVersion": version.to_string() });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

pub fn node(name: &str, labels: Value) -> WireNode {
    let status = json!({ "nodeInfo": { "kernelVersion": "6.1.0", "bootID": "b1" } });
    serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels }, "status": status }))
        .unwrap()
}

pub fn agent(node: &str, ready: &str) -> WirePod {
    serde_json::from_value(json!({
        "metadata": { "name": format!("agent-{node}") },
        "spec": { "nodeName": node },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] }
    }))
    .unwrap()
}

pub fn state(uid: &str, node: &str, condition: &str, more: Value) -> WireState {
    let mut status = json!({
        "node": node,
        "appLoadStatus": "LoadSuccess",
        "observedRevision": "1",
        "kernel": "6.1.0",
        "conditions": [{ "type": condition, "status": "True", "message": "as it is" }]
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("app-{uid}-{node}"),
            "finalizers": ["bpfman.io.clbpfapplicationcontroller/finalizer"],
            "ownerReferences": [{ "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": "a", "uid": uid }]
        },
        "status": status
    }))
    .unwrap()
}

pub fn id(uid: &str) -> ApplicationId {
    ApplicationId(uid.into())
}

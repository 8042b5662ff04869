//! Events: a failure on a node is reported once, and so is its end.

use bpfman_cluster_tests::{Cluster, wait};
use bpfman_tests::compile;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::json;

use super::equipment::{application, start, until_state, until_success, xdp};

async fn events(cluster: &Cluster, object: &DynamicObject) -> Vec<Event> {
    let events: Api<Event> = Api::all(cluster.client().await);
    let uid = object.uid();
    let mut all = events.list(&ListParams::default()).await.unwrap().items;
    all.retain(|event| event.regarding.as_ref().is_some_and(|about| about.uid == uid));
    all.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    all
}

async fn told(cluster: &Cluster, object: &DynamicObject) -> Vec<(String, String)> {
    let all = events(cluster, object).await.into_iter();
    all.map(|event| (event.type_.unwrap_or_default(), event.reason.unwrap_or_default())).collect()
}

async fn notes(cluster: &Cluster, object: &DynamicObject) -> Vec<String> {
    events(cluster, object).await.into_iter().filter_map(|event| event.note).collect()
}

#[tokio::test]
async fn failure_on_a_node_and_its_end_are_one_event_each() {
    let Some((cluster, node, agent)) = start("told").await else { return };
    let object = compile::object("broken");
    cluster.apply_one(application("told", &object, json!([xdp("broken", &["up0"], 50)]))).await;
    let state =
        until_state(&cluster, "told", "the refusal is said", |status| status["appLoadStatus"] == "LoadError")
            .await;
    let row = |kind: &str, reason: &str| (kind.to_owned(), reason.to_owned());
    let mut expected = vec![row("Warning", "LoadError")];
    wait::until("it is an event", async || told(&cluster, &state).await == expected).await;
    let tries = || agent.log().lines().filter(|line| line.contains("reason=\"kernel-refused\"")).count();
    wait::until("it was tried three times", async || tries() >= 3).await;
    assert_eq!(told(&cluster, &state).await, expected, "trying again is no event");

    let missing = json!([xdp("sound", &["up0", "none0"], 50)]);
    cluster.apply_one(application("told", &object, missing)).await;
    expected.push(row("Warning", "AttachError"));
    wait::until("a missing interface is one", async || told(&cluster, &state).await == expected).await;
    node.add_interface("none0");
    expected.push(row("Normal", "Success"));
    wait::until("so is that all is attached", async || told(&cluster, &state).await == expected).await;

    // Success without a previous failure is no event.
    let other = cluster.apply_one(application("quiet", &object, json!([xdp("sound", &["up0"], 60)]))).await;
    let quiet = until_success(&cluster, &other).await;
    assert_eq!(told(&cluster, &quiet).await, []);

    // Removed attachments are restored, with an event for every application, perhaps before a status shows it.
    for pin in std::fs::read_dir(node.daemon.fs().join("xdp")).unwrap() {
        std::fs::remove_file(pin.unwrap().path()).unwrap();
    }
    for state in [&state, &quiet] {
        let put_back = row("Warning", "PutBack");
        wait::until("that it was put back is told", async || told(&cluster, state).await.contains(&put_back))
            .await;
    }

    // If the radar observes the change, the event names its process. Both applications are at one hook.
    let radar = compile::example("radar").display().to_string();
    node.daemon.bpfman(&format!("radar start --file {radar}")).success();
    wait::until("the radar sees", async || {
        let source = node.daemon.bpfman("radar -o json").json()["radar"]["source"].clone();
        ["trampolines", "tracepoints"].contains(&source.as_str().unwrap())
    })
    .await;
    let hooks = node.daemon.bpfman("chain list -o json").json();
    let hook = hooks["hooks"].as_array().unwrap().iter().find(|hook| hook["member_count"] == 2).unwrap();
    let hook = hook["hook"].as_str().unwrap().to_owned();
    let shown = node.daemon.bpfman(&format!("chain show {hook} -o json")).json();
    let link = shown["entries"][0]["kernel_link_id"].to_string();
    let detach =
        std::process::Command::new("bpftool").args(["link", "detach", "id", &link]).status().unwrap();
    assert!(detach.success(), "bpftool link detach id {link}");
    for state in [&state, &quiet] {
        let touched = row("Warning", "HookTouched");
        wait::until("who touched it is told", async || told(&cluster, state).await.contains(&touched)).await;
        let note = notes(&cluster, state).await.into_iter().find(|note| note.contains("touched")).unwrap();
        for part in ["on node told: user 0", "bpftool", &hook, "our link detached by force"] {
            assert!(note.contains(part), "{part}: {note}");
        }
    }
}

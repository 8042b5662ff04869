//! Events: what fails on a node is told to people, once, and that it is over.

use bpfman_cluster_tests::{Cluster, wait};
use bpfman_tests::compile;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::json;

use super::equipment::{application, start, until_state, until_success, xdp};

/// Type and reason of all events about an object, in the order in which they were written.
async fn told(cluster: &Cluster, object: &DynamicObject) -> Vec<(String, String)> {
    let events: Api<Event> = Api::all(cluster.client().await);
    let uid = object.uid();
    let mut all = events.list(&ListParams::default()).await.unwrap().items;
    all.retain(|event| event.regarding.as_ref().is_some_and(|about| about.uid == uid));
    all.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    all.into_iter().map(|event| (event.type_.unwrap_or_default(), event.reason.unwrap_or_default())).collect()
}

#[tokio::test]
async fn what_fails_on_a_node_is_one_event_of_its_state_object_and_so_is_its_end() {
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

    // What goes well is no news.
    let other = cluster.apply_one(application("quiet", &object, json!([xdp("sound", &["up0"], 60)]))).await;
    let quiet = until_success(&cluster, &other).await;
    assert_eq!(told(&cluster, &quiet).await, []);

    // What others take away is put back, perhaps before any status shows it: that is told of all whose it is.
    for pin in std::fs::read_dir(node.daemon.fs().join("xdp")).unwrap() {
        std::fs::remove_file(pin.unwrap().path()).unwrap();
    }
    for state in [&state, &quiet] {
        let put_back = row("Warning", "PutBack");
        wait::until("that it was put back is told", async || told(&cluster, state).await.contains(&put_back))
            .await;
    }
}

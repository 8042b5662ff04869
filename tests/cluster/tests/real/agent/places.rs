//! Programs with attach points other than interfaces: cgroups, network namespaces, tracepoints.

use bpfman_cluster_tests::wait;
use bpfman_tests::compile;
use bpfman_tests::container::Container;
use bpfman_tests::control_group::Group;
use bpfman_tests::network::Namespace;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::equipment::{
    application, condition, links, objects, programs, start, states, until_state, until_success,
};

fn forbid(path: &str) -> Value {
    json!({ "name": "forbid", "type": "CgroupSockAddr", "target": "connect4",
        "cgroup": { "links": [{ "path": path }] } })
}

#[tokio::test]
async fn cgroup_program_is_attached_moved_and_removed() {
    let Some((cluster, node, _agent)) = start("places").await else { return };
    let (here, there) = (Group::new("cluster-here"), Group::new("cluster-there"));
    let object = compile::object("points");
    let with = |path: &str| {
        let entered = json!({ "name": "entered", "type": "RawTracePoint",
            "rawTracepoint": { "links": [{ "name": "sys_enter" }] } });
        application("places", &object, json!([forbid(path), entered]))
    };
    assert!(here.connects() && there.connects());
    let made = cluster.apply_one(with(&here.path)).await;
    let first = until_success(&cluster, &made).await;
    assert!(!here.connects() && there.connects());
    let shown = &first.data["status"]["programs"];
    assert_eq!((&shown[0]["type"], &shown[0]["target"]), (&json!("CgroupSockAddr"), &json!("connect4")));
    let link = &shown[0]["cgroup"]["links"][0];
    assert_eq!((&link["path"], &link["linkStatus"]), (&json!(here.path), &json!("Attached")));
    assert_eq!(shown[1]["rawTracepoint"]["links"][0]["name"], "sys_enter");

    let moved = cluster.apply_one(with(&there.path)).await;
    let second = until_success(&cluster, &moved).await;
    assert!(here.connects() && !there.connects());
    let program = |state: &kube::api::DynamicObject| state.data["status"]["programs"][0]["programId"].clone();
    assert_eq!(program(&second), program(&first), "it is not loaded again");

    cluster.apply_one(with("/nowhere.slice")).await;
    let state = until_state(&cluster, "places", "the group is missed", |status| {
        status["conditions"][0]["reason"] == "Error"
    })
    .await;
    assert!(condition(&state).1.contains("/nowhere.slice"), "{}", condition(&state).1);
    let shown = state.data["status"]["programs"][0]["cgroup"]["links"].as_array().unwrap();
    let shown: Vec<_> = shown.iter().map(|link| (&link["path"], &link["linkStatus"])).collect();
    assert_eq!(shown[0], (&json!("/nowhere.slice"), &json!("AttachError")));
    // The program stays attached to the old cgroup until the new one succeeds, and the state shows it.
    assert_eq!((shown.len(), shown[1].1), (2, &json!("Attached")), "{shown:?}");
    assert!(here.connects() && !there.connects());

    let applications = objects(&cluster, "ClusterBpfApplication").await;
    applications.delete("places", &DeleteParams::default()).await.unwrap();
    wait::until("nothing is left", async || programs(&node).is_empty()).await;
    assert!(here.connects() && there.connects());
    wait::until("the state object says so", async || {
        states(&cluster, "places").await.iter().all(|state| condition(state).0 == "Unloaded")
    })
    .await;
}

#[tokio::test]
async fn netns_program_follows_the_selected_pods() {
    let Some((cluster, node, _agent)) = start("lookup").await else { return };
    cluster.namespace("shop").await;
    let network = Namespace::new("pod");
    let container = Container::start(1, &network);
    cluster.pod("shop", "web-1", "lookup", &[("app", "web")], &[("main", &container.id)]).await;
    let pods = json!({ "namespace": "shop", "pods": { "matchLabels": { "app": "web" } } });
    let choose = json!([{ "name": "choose", "type": "SkLookup",
        "netns": { "links": [{ "networkNamespaces": pods }] } }]);
    let made = cluster.apply_one(application("lookup", &compile::object("points"), choose)).await;
    let state = until_success(&cluster, &made).await;
    let link = &state.data["status"]["programs"][0]["netns"]["links"][0];
    let path = format!("/proc/{}/ns/net", container.pid());
    assert_eq!((&link["netnsPath"], &link["linkStatus"]), (&json!(path), &json!("Attached")));
    assert_eq!(links(&node).len(), 1);
    cluster.pod("shop", "web-1", "lookup", &[("app", "other")], &[("main", &container.id)]).await;
    until_state(&cluster, "lookup", "the pod is not meant any more", |status| {
        status["programs"][0]["netns"]["links"].is_null() && status["conditions"][0]["reason"] == "Success"
    })
    .await;
    assert_eq!(links(&node), []);
}

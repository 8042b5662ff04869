//! Life of an application from creation to deletion.

use bpfman_cluster_tests::{Operator, wait};
use bpfman_tests::compile;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::equipment::{
    application, condition, links, objects, programs, start, states, until_state, until_success, xdp,
};

#[tokio::test]
async fn an_application_is_attached_changed_and_gone_again() {
    let Some((cluster, node, agent)) = start("life").await else { return };
    let object = compile::object("chain");
    let first =
        cluster.apply_one(application("life", &object, json!([xdp("xdp_member", &["up0"], 50)]))).await;
    let state = until_success(&cluster, &first).await;

    // Name, labels and finalizer are those of the published agent.
    let (name, digits) = state.metadata.name.as_deref().unwrap().split_once('-').unwrap();
    assert_eq!((name, digits.len()), ("life", 8));
    assert_eq!(state.labels()["kubernetes.io/hostname"], "life");
    assert_eq!(state.finalizers(), ["bpfman.io.clbpfapplicationcontroller/finalizer"]);
    let owner = &state.owner_references()[0];
    assert_eq!((owner.uid.as_str(), owner.controller), (first.uid().unwrap().as_str(), Some(true)));
    let status = &state.data["status"];
    assert_eq!((&status["node"], &status["appLoadStatus"]), (&json!("life"), &json!("LoadSuccess")));
    let link = &status["programs"][0]["xdp"]["links"][0];
    assert_eq!((&link["interfaceName"], &link["linkStatus"]), (&json!("up0"), &json!("Attached")));
    assert_eq!(status["kernel"], std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    assert_eq!(links(&node).len(), 1);

    // An edit of a link changes it in place, without loading anything.
    let program = status["programs"][0]["programId"].clone();
    let edited =
        cluster.apply_one(application("life", &object, json!([xdp("xdp_member", &["up0"], 70)]))).await;
    let state = until_success(&cluster, &edited).await;
    let shown = &state.data["status"]["programs"][0];
    assert_eq!((&shown["programId"], &shown["xdp"]["links"][0]["priority"]), (&program, &json!(70)));
    assert_eq!(shown["xdp"]["links"][0]["uuid"], link["uuid"]);

    let both = json!([xdp("xdp_member", &["up0"], 70), xdp("xdp_another", &["up0"], 80)]);
    let longer = cluster.apply_one(application("life", &object, both)).await;
    until_success(&cluster, &longer).await;
    assert_eq!(programs(&node), ["xdp_another", "xdp_member"]);
    assert_eq!(links(&node).len(), 2);

    // The node's network namespace has a name, so that the daemon finds it twice.
    let found = json!([{ "name": "xdp_member", "type": "XDP", "xdp": { "links": [{ "interfaceSelector": {
        "interfacesDiscoveryConfig": { "interfaceAutoDiscovery": true, "allowedInterfaces": ["/^life/"] } } }] } }]);
    let discovering = cluster.apply_one(application("life", &object, found)).await;
    until_success(&cluster, &discovering).await;
    assert_eq!(links(&node), []);
    node.add_interface("life0");
    until_state(&cluster, "life", "the new interface has its program", |status| {
        status["programs"][0]["xdp"]["links"].as_array().is_some_and(|links| {
            links.iter().any(|link| link["interfaceName"] == "life0" && link["linkStatus"] == "Attached")
        })
    })
    .await;
    node.network.ip(&["link", "delete", "life0"]);
    until_state(&cluster, "life", "the interface that went is forgotten", |status| {
        status["programs"][0]["xdp"]["links"].is_null() && status["conditions"][0]["reason"] == "Success"
    })
    .await;

    nothing_is_asked_while_nothing_changes(&cluster, &agent).await;

    cluster.node("life", &[("zone", "two")]).await;
    wait::until("the state object is gone", async || states(&cluster, "life").await.is_empty()).await;
    assert_eq!(programs(&node), [""; 0]);
    cluster.node("life", &[("zone", "one")]).await;
    until_success(&cluster, &discovering).await;

    // Without a garbage collector the state object stays after deletion, but without a finalizer.
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    applications.delete("life", &DeleteParams::default()).await.unwrap();
    wait::until("the finalizer is gone", async || {
        states(&cluster, "life").await.iter().all(|state| state.finalizers().is_empty())
    })
    .await;
    let left = states(&cluster, "life").await;
    assert_eq!(condition(&left[0]).0, "Unloaded");
    assert_eq!(programs(&node), [""; 0]);
    eprintln!("memory of the agent: {} KiB", agent.memory());
}

async fn nothing_is_asked_while_nothing_changes(cluster: &bpfman_cluster_tests::Cluster, agent: &Operator) {
    let settled = async || {
        let mark = cluster.mark();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let asked = cluster.requests_since(mark);
        asked.iter().filter(|request| request.resource.contains("bpfapplication")).count() == 0
    };
    wait::until("the agent is quiet", settled).await;
    assert!(agent.log().contains("the daemon answers"), "{}", agent.log());
}

#[tokio::test]
async fn application_that_cannot_be_unloaded_yet_goes_later() {
    let Some((cluster, mut node, _agent)) = start("stuck").await else { return };
    let object = compile::object("chain");
    let made =
        cluster.apply_one(application("stuck", &object, json!([xdp("xdp_member", &["up0"], 50)]))).await;
    until_success(&cluster, &made).await;
    // A third-party finalizer keeps the application, like a controller's finalizer.
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    let finalizers = |list: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": list } }));
    let params = PatchParams::default();
    applications.patch("stuck", &params, &finalizers(&["example.org/kept"])).await.unwrap();
    node.daemon.kill();
    applications.delete("stuck", &DeleteParams::default()).await.unwrap();
    let state = until_state(&cluster, "stuck", "it says why it is stuck", |status| {
        status["failure"]["reason"] == "daemon-away"
    })
    .await;
    assert_eq!(state.finalizers().len(), 1);
    node.daemon.again(&bpfman_tests::Launch {
        wrapper: vec!["nsenter".to_owned(), format!("--net={}", node.network.path().display())],
        ..Default::default()
    });
    until_state(&cluster, "stuck", "it is unloaded", |status| {
        status["conditions"][0]["reason"] == "Unloaded"
    })
    .await;
    wait::until("the finalizer is gone", async || {
        states(&cluster, "stuck").await.iter().all(|state| state.finalizers().is_empty())
    })
    .await;
    assert_eq!(programs(&node), [""; 0]);
    applications.patch("stuck", &params, &finalizers(&[])).await.unwrap();
}

/// Measurement of the time from the write of an application to its program on the interface, and of the agent's
/// memory. `cargo nextest run -p bpfman-cluster-tests --run-ignored only -E 'test(apply_to_attached)' --no-capture`
#[tokio::test]
#[ignore = "a measurement"]
async fn apply_to_attached() {
    let Some((cluster, node, agent)) = start("measure").await else { return };
    let object = compile::object("chain");
    let mut times = Vec::new();
    for round in 0..20 {
        let name = format!("measured-{round}");
        let written = application(&name, &object, json!([xdp("xdp_member", &["up0"], 50)]));
        let began = std::time::Instant::now();
        let made = cluster.apply_one(written).await;
        wait::until("it is attached", async || {
            node.network.ip(&["-d", "link", "show", "up0"]).contains("prog/xdp")
        })
        .await;
        let attached = began.elapsed();
        until_success(&cluster, &made).await;
        times.push((attached, began.elapsed()));
        objects(&cluster, "ClusterBpfApplication")
            .await
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
        wait::until("it is gone", async || programs(&node).is_empty()).await;
    }
    let median = |of: fn(&(std::time::Duration, std::time::Duration)) -> std::time::Duration| {
        let mut all: Vec<_> = times.iter().map(of).collect();
        all.sort();
        all[all.len() / 2]
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let memory: Vec<_> =
        status.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmRSS")).collect();
    eprintln!(
        "apply to attached: median {:?}; to Success in its state: median {:?}; agent: {memory:?}",
        median(|time| time.0),
        median(|time| time.1),
    );
}

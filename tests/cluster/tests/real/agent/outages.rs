//! Outages of API server, daemon and agent, one at a time.

use bpfman_cluster_tests::{Node, wait};
use bpfman_tests::{Launch, compile};
use serde_json::json;

use super::equipment::{agent, application, links, programs, start, until_state, until_success, xdp};

fn detach_all(node: &Node) {
    let list = node.daemon.bpfman("list links -o json").json();
    for link in list["links"].as_array().unwrap() {
        node.daemon.bpfman(&format!("detach {}", link["link_id"])).success();
    }
}

#[tokio::test]
async fn programs_are_kept_true_whoever_is_away() {
    let Some((cluster, mut node, mut first)) = start("outages").await else { return };
    let object = compile::object("chain");
    let written = application("outages", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written.clone()).await;
    let before = until_success(&cluster, &made).await;
    let attached = links(&node);
    assert_eq!(attached.len(), 1);

    cluster.kill_api_server();
    detach_all(&node);
    wait::until("the link is back", async || links(&node) == attached).await;
    cluster.start_api_server();
    let edited =
        cluster.apply_one(application("outages", &object, json!([xdp("xdp_member", &["up0"], 60)]))).await;
    until_success(&cluster, &edited).await;
    first.assert_outage_is_reported_once();

    // Without the daemon, programs keep running, and after some seconds the state reports the outage, once.
    let launch = Launch {
        wrapper: vec!["nsenter".to_owned(), format!("--net={}", node.network.path().display())],
        ..Default::default()
    };
    node.daemon.kill();
    let away = until_state(&cluster, "outages", "the state says that the daemon is away", |status| {
        status["failure"]["reason"] == "daemon-away"
    })
    .await;
    assert_eq!(away.data["status"]["appLoadStatus"], "LoadSuccess");
    node.daemon.again(&launch);
    let back = until_success(&cluster, &edited).await;
    let count = |state: &kube::api::DynamicObject| state.data["status"]["updateCount"].as_i64().unwrap();
    assert_eq!(count(&back), count(&away) + 1, "one word each way");

    first.kill();
    detach_all(&node);
    let second = agent(&cluster, "outages", &node.daemon.socket());
    wait::until("the link is back", async || links(&node).len() == 1).await;
    assert_eq!(programs(&node), ["xdp_member"], "nothing is loaded twice");
    let third = agent(&cluster, "outages", &node.daemon.socket());
    wait::until("the third waits", async || third.log().contains("another agent acts")).await;
    drop(second);
    wait::until("the third takes over", async || third.log().contains("everything is known")).await;
    detach_all(&node);
    wait::until("the link is back", async || links(&node).len() == 1).await;
    assert_eq!(programs(&node), ["xdp_member"]);
    let last = until_success(&cluster, &edited).await;
    assert_eq!(last.metadata.name, before.metadata.name);
    assert_eq!(last.metadata.uid, before.metadata.uid);
}

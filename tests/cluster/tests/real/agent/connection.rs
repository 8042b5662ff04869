//! Connection of an agent to the API server: a single one, which is replaced soon after it is dead.

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::compile;
use serde_json::json;

use super::equipment::{agent_with, application, until_success, xdp};

async fn one_connection(agent: &Operator, what: &str) {
    wait::until(what, async || {
        let connections = agent.connections();
        assert!(connections.len() <= 2, "{what}: {connections:?}");
        connections.len() == 1
    })
    .await;
}

#[tokio::test]
async fn all_watches_share_one_connection_that_is_replaced_when_dead() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    let node = Node::start(&cluster, "connection", &[("zone", "one")]).await;
    node.add_interface("up0");
    let quick = ["--api-ping-interval=1", "--api-ping-timeout=5"];
    let agent = agent_with(&cluster, "connection", &node.daemon.socket(), &quick);
    let object = compile::object("chain");
    let attach = async |priority| {
        let programs = json!([xdp("xdp_member", &["up0"], priority)]);
        let made = cluster.apply_one(application("connection", &object, programs)).await;
        until_success(&cluster, &made).await;
    };
    attach(50).await;
    one_connection(&agent, "six watches and what is written have one connection").await;

    cluster.kill_api_server();
    cluster.start_api_server();
    attach(60).await;
    one_connection(&agent, "there is one connection to the new server").await;

    // The server stops responding, as in a split network.
    let before = agent.connections();
    cluster.pause_api_server();
    wait::until("the agent gives the dead connection up", async || agent.connections().is_disjoint(&before))
        .await;
    cluster.resume_api_server();
    attach(70).await;
    one_connection(&agent, "there is one connection after the split").await;
}

//! Attachments in a pod's network survive restarts of its container and of the agent.

use bpfman_cluster_tests::{Cluster, Node, wait};
use bpfman_tests::compile;
use bpfman_tests::container::Container;
use bpfman_tests::network::Namespace;
use serde_json::{Value, json};

use super::equipment::{agent, application, start, until_success};

fn discovering(priority: i32) -> Value {
    let found = json!({ "interfaceAutoDiscovery": true, "allowedInterfaces": ["eth0"] });
    let pods = json!({ "namespace": "shop", "pods": { "matchLabels": { "app": "web" } } });
    application(
        "keep",
        &compile::object("chain"),
        json!([{ "name": "xdp_member", "type": "XDP", "xdp": { "links": [{
            "interfaceSelector": { "interfacesDiscoveryConfig": found },
            "networkNamespaces": pods, "priority": priority }] } }]),
    )
}

fn ids(node: &Node) -> Vec<u64> {
    let list = node.daemon.bpfman("list links -o json").json();
    list["links"].as_array().unwrap().iter().map(|link| link["link_id"].as_u64().unwrap()).collect()
}

async fn looked(cluster: &Cluster, priority: i32) -> Value {
    let edited = cluster.apply_one(discovering(priority)).await;
    let state = until_success(cluster, &edited).await;
    state.data["status"]["programs"][0]["xdp"]["links"][0].clone()
}

#[tokio::test]
async fn pod_keeps_links_over_restarts_of_its_container_and_the_agent() {
    let Some((cluster, node, mut first_agent)) = start("keep").await else { return };
    cluster.namespace("shop").await;
    let network = Namespace::new("pod");
    network.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
    let first = Container::start(31, &network);
    cluster.pod("shop", "web-1", "keep", &[("app", "web")], &[("main", &first.id)]).await;
    looked(&cluster, 50).await;
    wait::until("it is attached", async || ids(&node).len() == 1).await;
    let attached = ids(&node);

    // The pod's only container crashes: no process runs in the pod until the kubelet restarts it.
    drop(first);
    cluster.pod_crashed("shop", "web-1", "main").await;
    let kept = looked(&cluster, 51).await;
    assert_eq!(ids(&node), attached, "the pod's network is there still");
    assert_eq!((&kept["shouldAttach"], kept["linkId"].as_u64()), (&json!(true), Some(attached[0])));

    let second = Container::start(32, &network);
    cluster.pod("shop", "web-1", "keep", &[("app", "web")], &[("main", &second.id)]).await;
    let again = looked(&cluster, 52).await;
    assert_eq!((ids(&node), again["linkId"].as_u64()), (attached.clone(), Some(attached[0])));
    let log = first_agent.log();
    assert!(!log.contains("detached xdp_member"), "{log}");

    first_agent.kill();
    let second_agent = agent(&cluster, "keep", &node.daemon.socket());
    wait::until("the second agent acts", async || second_agent.log().contains("everything is known")).await;
    looked(&cluster, 53).await;
    assert_eq!(ids(&node), attached);
    let log = second_agent.log();
    assert!(!log.contains("tached xdp_member"), "{log}");
}

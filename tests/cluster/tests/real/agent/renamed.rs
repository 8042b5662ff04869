//! Nodes that are renamed or deleted.

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::compile;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};

use super::equipment::{
    agent, agent_with, application, condition, programs, start, states, until_success, xdp,
};

fn controller(cluster: &Cluster) -> Operator {
    let flags =
        ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0", "--metrics-bind-address=0"];
    Operator::start(cluster, "controller", &cluster.kubeconfig(), &flags, &[])
}

async fn delete_node(cluster: &Cluster, name: &str) {
    let nodes: Api<NodeObject> = Api::all(cluster.client().await);
    nodes.delete(name, &DeleteParams::default()).await.unwrap();
}

async fn until_runs_on(cluster: &Cluster, application: &str, node: &str) -> DynamicObject {
    wait::some(&format!("it runs on {node}"), async || {
        let all = states(cluster, application).await;
        all.into_iter()
            .find(|state| state.labels()["kubernetes.io/hostname"] == node && condition(state).0 == "Success")
    })
    .await
}

fn links(node: &Node) -> Vec<(u64, String)> {
    let programs = node.daemon.bpfman("list programs -o json").json();
    let of = |id: &Value| {
        let mut all = programs["programs"].as_array().unwrap().iter();
        let program = all.find(|program| program["program_id"] == *id).expect("it is listed");
        program["metadata"]["bpfman.io/uuid"].as_str().unwrap().to_owned()
    };
    let list = node.daemon.bpfman("list links -o json").json();
    let all = list["links"].as_array().unwrap().iter();
    all.map(|link| (link["link_id"].as_u64().unwrap(), of(&link["program_id"]))).collect()
}

#[tokio::test]
async fn renamed_machine_takes_over_programs_and_attaches_none_twice() {
    let Some((cluster, node, mut first)) = start("named-one").await else { return };
    cluster.namespace("bpfman").await;
    let object = compile::object("chain");
    let programs_of = json!([xdp("xdp_member", &["up0"], 50), xdp("xdp_another", &["up0"], 60)]);
    let made = cluster.apply_one(application("renamed", &object, programs_of)).await;
    let before = until_success(&cluster, &made).await;
    let (old, old_links) = (before.uid().unwrap(), links(&node));
    assert!(old_links.len() == 2 && old_links.iter().all(|(_, owner)| *owner == old), "{old_links:?}");

    first.kill();
    cluster.node("named-two", &[("zone", "one")]).await;
    let second = agent(&cluster, "named-two", &node.daemon.socket());
    let state = until_runs_on(&cluster, "renamed", "named-two").await;
    // The links are the same: each was updated once, to the new object's programs.
    let new = state.uid().unwrap();
    let now: Vec<_> = old_links.iter().map(|(id, _)| (*id, new.clone())).collect();
    assert_eq!(links(&node), now);
    assert_eq!(programs(&node), ["xdp_another", "xdp_member"]);
    let log = second.log();
    assert!(log.contains("replaced xdp_member") && !log.contains(" loaded xdp_member"), "{log}");

    // The state object of the old name is orphaned now.
    let _controller = controller(&cluster);
    delete_node(&cluster, "named-one").await;
    wait::until("only one state object is left", async || {
        states(&cluster, "renamed").await.iter().map(|state| state.uid().unwrap()).eq([new.clone()])
    })
    .await;
    assert_eq!(links(&node), now);
}

#[tokio::test]
async fn programs_of_a_deleted_node_unload_and_return_with_the_node() {
    let Some((cluster, node, mut first)) = start("deleted").await else { return };
    cluster.namespace("bpfman").await;
    first.kill();
    let _agent = agent_with(&cluster, "deleted", &node.daemon.socket(), &["--leftover-seconds=1"]);
    let object = compile::object("chain");
    let written = application("deleted", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written).await;
    let before = until_success(&cluster, &made).await;

    delete_node(&cluster, "deleted").await;
    super::equipment::until_state(&cluster, "deleted", "it says that there is no such node", |status| {
        status["failure"]["reason"] == "node-gone"
    })
    .await;
    assert_eq!(programs(&node), ["xdp_member"], "until somebody says that it is for good");
    let _controller = controller(&cluster);
    wait::until("its state object is gone", async || states(&cluster, "deleted").await.is_empty()).await;
    wait::until("its programs are gone", async || programs(&node).is_empty()).await;
    assert_eq!(links(&node), []);

    cluster.node("deleted", &[("zone", "one")]).await;
    let after = until_success(&cluster, &made).await;
    assert_ne!(after.uid(), before.uid());
    assert_eq!((programs(&node).len(), links(&node).len()), (1, 1));
}

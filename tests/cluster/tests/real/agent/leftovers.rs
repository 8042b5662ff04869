//! Programs without a state object.

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::compile;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{
    agent_with, application, links, objects, programs, start, until_state, until_success, xdp,
};

fn again(cluster: &Cluster, node: &Node) -> Operator {
    agent_with(cluster, &node.name, &node.daemon.socket(), &["--leftover-seconds=1"])
}

fn owners(node: &Node) -> Vec<String> {
    let list = node.daemon.bpfman("list programs -o json").json();
    let of = |program: &Value| program["metadata"]["bpfman.io/uuid"].as_str().unwrap_or_default().to_owned();
    let mut owners: Vec<_> = list["programs"].as_array().unwrap().iter().map(of).collect();
    owners.sort();
    owners
}

#[tokio::test]
async fn own_programs_without_state_object_are_unloaded() {
    let Some((cluster, node, mut agent)) = start("leftovers").await else { return };
    let object = compile::object("broken");
    let programs_of = |interface: &str| json!([xdp("sound", &[interface], 50)]);
    for name in ["goes", "stays"] {
        let made = cluster.apply_one(application(name, &object, programs_of("up0"))).await;
        until_success(&cluster, &made).await;
    }
    for metadata in [
        "-m bpfman.io/uuid=local:ClusterBpfApplication/mine -m bpfman.io/content=aa -m bpfman.io/ProgramName=mine",
        "-m bpfman.io/uuid=11111111-2222-3333-4444-555555555555",
    ] {
        let path = object.display();
        node.daemon.bpfman(&format!("load file -p {path} --programs xdp:sound {metadata}")).success();
    }
    let others = |owners: &[String]| {
        owners.iter().any(|owner| owner.starts_with("local:"))
            && owners.iter().any(|owner| owner.starts_with("1111"))
    };
    assert!(owners(&node).len() == 4 && others(&owners(&node)), "{:?}", owners(&node));

    // While no agent runs, a user removes finalizers and deletes the objects, and one of the applications.
    agent.kill();
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    for name in ["goes", "stays"] {
        let state = super::equipment::states(&cluster, name).await.remove(0);
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        states.patch(&state.name_any(), &PatchParams::default(), &free).await.unwrap();
        states.delete(&state.name_any(), &DeleteParams::default()).await.unwrap();
    }
    applications.delete("goes", &DeleteParams::default()).await.unwrap();
    let _agent = again(&cluster, &node);
    let state = until_state(&cluster, "stays", "it is loaded anew", |status| {
        status["conditions"][0]["reason"] == "Success"
    })
    .await;
    wait::until("only what has an owner is left", async || owners(&node).len() == 3).await;
    let left = owners(&node);
    assert!(left.contains(&state.uid().unwrap()) && others(&left), "{left:?}");
    assert_eq!(programs(&node), ["sound"; 3]);
    assert_eq!(links(&node).len(), 1, "the one of the application that is there");
}

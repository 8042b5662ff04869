//! Nodes on which the published operator's agent ran before.

use bpfman_cluster_tests::{Cluster, Node, wait};
use bpfman_tests::compile;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{agent, application, links, objects, programs, states, until_success, xdp};

const FINALIZER: &str = "bpfman.io.clbpfapplicationcontroller/finalizer";

/// Creates the object that the published agent writes before a load. Programs refer to it by its uid.
async fn claimed(cluster: &Cluster, application_uid: &str) -> String {
    let object = json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
        "metadata": {
            "name": "published-x7k2p",
            "labels": { "bpfman.io/ownedByProgram": "published", "kubernetes.io/hostname": "published" },
            "finalizers": [FINALIZER],
            "ownerReferences": [{
                "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": "published",
                "uid": application_uid, "controller": true, "blockOwnerDeletion": true,
            }],
        },
    });
    cluster.apply_one(object).await.uid().unwrap()
}

fn said(program: u64, link: u64) -> Value {
    json!({ "status": {
        "updateCount": 5, "node": "published", "appLoadStatus": "LoadSuccess",
        "conditions": [{
            "type": "Success", "status": "True", "reason": "Success", "message": "BPF application configuration successfully applied on the node",
            "lastTransitionTime": "2025-06-01T12:00:00Z",
        }],
        "programs": [{ "name": "xdp_member", "type": "XDP", "programLinkStatus": "Success", "programId": program,
            "xdp": { "links": [{
                "shouldAttach": true, "uuid": "9e5c3b1a-1111-4222-8333-444455556666", "linkId": link,
                "linkStatus": "Attached", "interfaceName": "up0", "priority": 50,
                "proceedOn": ["Pass", "DispatcherReturn"],
            }] } }],
    } })
}

#[tokio::test]
async fn state_object_of_the_published_agent_is_adopted() {
    let Some(cluster) = Cluster::undefined() else { return };
    cluster.apply_definitions().await;
    let node = Node::start(&cluster, "published", &[("zone", "one")]).await;
    node.add_interface("up0");
    let object = compile::object("chain");
    let written = application("published", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written).await;
    let uid = claimed(&cluster, &made.uid().unwrap()).await;
    let load = format!(
        "load file -p {} --programs xdp:xdp_member -m bpfman.io/uuid={uid} -m bpfman.io/ProgramName=published -o json",
        object.display()
    );
    let theirs = node.daemon.bpfman(&load).json()["programs"][0]["program_id"].as_u64().unwrap();
    node.daemon.bpfman(&format!("attach {theirs} xdp -i up0 -p 50")).success();
    let list = node.daemon.bpfman("list links -o json").json();
    let link = list["links"][0]["link_id"].as_u64().unwrap();
    let api = objects(&cluster, "ClusterBpfApplicationState").await;
    let patch = Patch::Merge(said(theirs, link));
    api.patch_status("published-x7k2p", &PatchParams::default(), &patch).await.unwrap();

    let agent = agent(&cluster, "published", &node.daemon.socket());
    wait::until("it is reconciled", async || agent.log().contains(" reconciled ")).await;
    let state = until_success(&cluster, &made).await;
    assert_eq!((state.name_any(), state.uid().unwrap()), ("published-x7k2p".to_owned(), uid));
    assert_eq!(state.finalizers(), [FINALIZER]);
    assert_eq!(states(&cluster, "published").await.len(), 1);
    let status = &state.data["status"];
    assert!(status["updateCount"].as_i64().unwrap() > 5, "{status}");
    // The condition did not change, so that its time stays; the additional fields come from this agent.
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["lastTransitionTime"]),
        (&json!("Success"), &json!("2025-06-01T12:00:00Z"))
    );
    assert_eq!(condition["observedGeneration"], 1);
    assert!(status["kernel"].is_string(), "{status}");
    assert_eq!((programs(&node), links(&node).len()), (vec!["xdp_member".to_owned()], 1));
    let shown = &status["programs"][0];
    assert_ne!(shown["programId"], theirs);
    let list = node.daemon.bpfman("list links -o json").json();
    assert_eq!(list["links"][0]["program_id"], shown["programId"]);
}

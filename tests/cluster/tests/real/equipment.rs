//! Tests of the test harness.

use std::process::Command;

use bpfman_cluster_tests::{Cluster, Node, Setup, scripts};
use bpfman_tests::Outcome;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::application::everything;

#[tokio::test]
async fn a_server_keeps_its_objects_over_an_outage() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.node("one", &[("tier", "edge")]).await;
    cluster.kill_api_server();
    let nodes: Api<NodeObject> = Api::all(cluster.client().await);
    assert!(nodes.list(&ListParams::default()).await.is_err());

    cluster.start_api_server();
    let names: Vec<_> = nodes.list(&ListParams::default().labels("tier=edge")).await.unwrap().items;
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn the_audit_log_tells_who_asked_what() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("audit").await;
    let token = cluster.token("audit", "nobody").await;
    let mark = cluster.mark();
    let nodes: Api<NodeObject> = Api::all(cluster.client_with(&token).await);
    let error = nodes.get("none").await.unwrap_err();
    assert!(error.to_string().contains("system:serviceaccount:audit:nobody"), "{error}");

    let requests = cluster.requests_since(mark);
    let mine: Vec<_> = requests.iter().filter(|request| request.user.ends_with(":audit:nobody")).collect();
    let [request] = mine[..] else { panic!("{mine:?}") };
    assert_eq!((&*request.verb, &*request.resource, &*request.name), ("get", "nodes", "none"));
    assert_eq!(request.code, 403);
    assert!(!request.writes());
}

#[tokio::test]
async fn a_token_of_a_pod_ends_with_it() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("bound").await;
    cluster.node("bound", &[]).await;
    let pod = cluster.pod("bound", "agent", "bound", &[], &[("agent", "containerd://1")]).await;
    let token = cluster.token_of_pod(&pod).await;
    let client = cluster.client_with(&token).await;
    // The server accepts the token, although it has no permissions.
    assert!(client.apiserver_version().await.is_ok());

    let gone = cluster.kubectl(&[
        "-n",
        "bound",
        "delete",
        "pod",
        "agent",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
    gone.success();
    bpfman_cluster_tests::wait::until("the token is refused", async || {
        client.apiserver_version().await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_node_is_a_daemon_in_a_network_of_its_own() {
    let Some(cluster) = Cluster::shared().await else { return };
    let node = Node::start(&cluster, "with-daemon", &[]).await;
    node.add_interface("uplink");
    let nodes: Api<NodeObject> = Api::all(cluster.client().await);
    assert!(nodes.get("with-daemon").await.is_ok());
    node.daemon.bpfman("list programs").success();
}

#[tokio::test]
async fn dropped_cluster_leaves_nothing() {
    let Some(cluster) = Cluster::own_with(Setup::default()) else { return };
    let (netns, folder) = (cluster.netns(), cluster.path(""));
    assert!(netns.exists() && folder.exists());
    drop(cluster);
    assert!(!netns.exists() && !folder.exists());
}

#[tokio::test]
async fn a_reset_leaves_what_was_remembered_and_nothing_else() {
    let Some(cluster) = Cluster::own_with(Setup::default()) else { return };
    let reset = |words: &[&str]| {
        Outcome::of(Command::new(scripts::script("reset")).arg(cluster.path("")).args(words))
    };
    reset(&["--remember"]).success();
    cluster.apply_definitions().await;
    reset(&["--remember-definitions"]).success();
    cluster.namespace("left").await;
    let mut held = everything("held");
    held["metadata"]["finalizers"] = json!(["bpfman.test/held"]);
    cluster.apply_one(held.clone()).await;
    let api = cluster.api_of(&held).await.unwrap();

    reset(&[]).success();
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 0);
    let namespaces = cluster.kubectl(&["get", "namespaces", "-o", "name"]).success();
    assert!(namespaces.contains("/default") && !namespaces.contains("/left"), "{namespaces}");
    cluster.apply_one(held).await;

    cluster.kubectl(&["annotate", "namespace", "default", "changed=yes"]).success();
    let refused = reset(&[]);
    assert!(
        refused.code != 0 && refused.stderr.contains("/registry/namespaces/default"),
        "{}",
        refused.stderr
    );
}

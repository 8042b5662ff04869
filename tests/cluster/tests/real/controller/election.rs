//! Several controllers, of which one is the leader.

use bpfman_cluster_tests::{Cluster, Operator, wait};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::Api;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{
    SUMS, answer, application, applications, cluster, condition, controller, is, say, states, status,
};

#[tokio::test]
async fn another_controller_takes_over_when_the_acting_one_is_killed() {
    let Some(cluster) = cluster().await else { return };
    cluster.node("n1", &[]).await;
    let uid = application(&cluster, "guard", json!({})).await;
    answer(&cluster, ("guard", &uid), "n1", json!({})).await;
    let flags: Vec<&str> = SUMS.into_iter().chain(["--leader-elect", "--lease-seconds=15"]).collect();
    let start = || controller(&cluster, &flags);
    let mut first = start();
    status(&cluster, "guard", "the first acts", |status| is(status, "Success")).await;
    let held_by_first = holder(&cluster).await.unwrap();
    let mut second = start();
    wait::until("the second waits", async || {
        second.log().contains("another") || holder(&cluster).await.is_some()
    })
    .await;
    assert_eq!(holder(&cluster).await.as_ref(), Some(&held_by_first));

    first.kill();
    say(&states(&cluster).await, "guard-n1", "n1", json!({ "conditions": [condition("Pending")] })).await;
    status(&cluster, "guard", "the second acts", |status| is(status, "Pending")).await;
    assert_ne!(holder(&cluster).await, Some(held_by_first));

    // A controller that terminates gracefully releases the lease, so that the next one need not wait for its expiry.
    assert!(second.terminate().success());
    assert_eq!(holder(&cluster).await, None);
    let _third: Operator = start();
    wait::until("the third acts", async || holder(&cluster).await.is_some()).await;
}

#[tokio::test]
async fn frozen_controller_learns_of_its_successor_and_writes_nothing() {
    let Some(cluster) = cluster().await else { return };
    cluster.node("n1", &[]).await;
    let uid = application(&cluster, "guard", json!({})).await;
    answer(&cluster, ("guard", &uid), "n1", json!({})).await;
    let flags: Vec<&str> = SUMS.into_iter().chain(["--leader-elect", "--lease-seconds=15"]).collect();
    let mut first = controller(&cluster, &flags);
    status(&cluster, "guard", "the first acts", |status| is(status, "Success")).await;
    let held_by_first = holder(&cluster).await.unwrap();
    let _second = controller(&cluster, &flags);

    // The connections of the stopped leader stay open, and buffer the events of the API server.
    let signal = |signal| kill_process(Pid::from_raw(first.pid().cast_signed()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    say(&states(&cluster).await, "guard-n1", "n1", json!({ "conditions": [condition("Pending")] })).await;
    status(&cluster, "guard", "the second acts", |status| is(status, "Pending")).await;
    let held_by_second = holder(&cluster).await.unwrap();
    assert_ne!(held_by_second, held_by_first);

    let (log, applications) = (first.log().len(), applications(&cluster).await);
    let version = async || applications.get("guard").await.unwrap().resource_version();
    let written_by_second = version().await;
    signal(Signal::CONT);
    wait::until("the first knows that it lost the lease", async || {
        first.log()[log..].contains("another controller has the lease")
    })
    .await;
    assert_eq!(version().await, written_by_second, "what the first thought when it was frozen");
    assert_eq!(holder(&cluster).await.as_ref(), Some(&held_by_second));
    say(&states(&cluster).await, "guard-n1", "n1", json!({ "conditions": [condition("Success")] })).await;
    status(&cluster, "guard", "the second acts again", |status| is(status, "Success")).await;
    assert_eq!(holder(&cluster).await, Some(held_by_second));
    assert!(first.ended().is_none(), "it waits for its turn");
}

async fn holder(cluster: &Cluster) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client().await, "bpfman");
    leases.get_opt("8730d955.bpfman.io").await.unwrap()?.spec?.holder_identity
}

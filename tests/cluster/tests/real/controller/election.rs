//! Several controllers: one acts.

use bpfman_cluster_tests::{Cluster, Operator, wait};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::json;

use super::{SUMS, answer, application, cluster, condition, controller, is, say, states, status};

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

    // One that ends in order gives the lease back: the next need not wait for it to run out.
    assert!(second.terminate().success());
    assert_eq!(holder(&cluster).await, None);
    let _third: Operator = start();
    wait::until("the third acts", async || holder(&cluster).await.is_some()).await;
}

async fn holder(cluster: &Cluster) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client().await, "bpfman");
    leases.get_opt("8730d955.bpfman.io").await.unwrap()?.spec?.holder_identity
}

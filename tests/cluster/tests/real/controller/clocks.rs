//! Leases of controllers with wrong clocks.

use bpfman_cluster_tests::wait;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{SUMS, answer, application, cluster, controller, is, status};

const LEASE: &str = "8730d955.bpfman.io";

#[tokio::test]
async fn lease_is_kept_while_renewed_whatever_the_holders_clock() {
    let Some(cluster) = cluster().await else { return };
    let leases: Api<Lease> = Api::namespaced(cluster.client().await, "bpfman");
    let spec = |time: &str| {
        json!({
            "holderIdentity": "somebody", "leaseDurationSeconds": 9, "acquireTime": time, "renewTime": time,
            "leaseTransitions": 1,
        })
    };
    let first = json!({ "metadata": { "name": LEASE }, "spec": spec("1970-01-01T00:00:00.000000Z") });
    leases.create(&PostParams::default(), &serde_json::from_value(first).unwrap()).await.unwrap();
    cluster.node("n1", &[]).await;
    let uid = application(&cluster, "guard", json!({})).await;
    answer(&cluster, ("guard", &uid), "n1", json!({})).await;
    let flags: Vec<&str> = SUMS.into_iter().chain(["--leader-elect", "--lease-seconds=9"]).collect();
    let waiting = controller(&cluster, &flags);

    // A lease that is renewed between two observations counts as held; its duration spans six observations.
    for number in 1..=10 {
        let mark = cluster.mark();
        wait::until("the other one looks at the lease", async || {
            let asked = cluster.requests_since(mark);
            asked.iter().any(|request| request.resource == "leases" && request.verb == "get")
        })
        .await;
        let renewed = spec(&format!("1970-01-01T00:00:{number:02}.000000Z"));
        let patch = Patch::Merge(json!({ "spec": renewed }));
        leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
        assert!(!waiting.log().contains("took the lease"), "{}", waiting.log());
    }
    // A lease renewed in the far future expires if it is observed unchanged for its duration.
    let patch = Patch::Merge(json!({ "spec": spec("2199-01-01T00:00:00.000000Z") }));
    leases.patch(LEASE, &PatchParams::default(), &patch).await.unwrap();
    wait::until("it is taken over", async || waiting.log().contains("took the lease")).await;
    status(&cluster, "guard", "the new holder acts", |status| is(status, "Success")).await;
}

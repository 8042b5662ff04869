//! Failures: an understandable state, and retries with backoff.

use bpfman_tests::compile;
use serde_json::json;

use super::equipment::{application, condition, links, programs, start, until_state, until_success, xdp};

#[tokio::test]
async fn kernel_rejection_is_located_and_retried_with_backoff() {
    let Some((cluster, node, agent)) = start("failures").await else { return };
    let written = application("broken", &compile::object("broken"), json!([xdp("broken", &["up0"], 50)]));
    cluster.apply_one(written).await;
    let state = until_state(&cluster, "broken", "the refusal is said", |status| {
        status["appLoadStatus"] == "LoadError"
    })
    .await;
    let failure = &state.data["status"]["failure"];
    assert_eq!(failure["reason"], "kernel-refused", "{failure}");
    let (reason, message) = condition(&state);
    assert_eq!(reason, "Error");
    assert!(message.contains("invalid access to map value"), "{message}");
    assert_eq!(programs(&node), [""; 0]);

    // Retries have increasing delays, fail in the same way, and write nothing.
    let waits = || -> Vec<f64> {
        let log = agent.log();
        let tries = log.lines().filter(|line| line.contains("reason=\"kernel-refused\""));
        let waits = tries.filter_map(|line| line.rsplit_once("wait=")?.1.strip_suffix('s')?.parse().ok());
        waits.collect()
    };
    bpfman_cluster_tests::wait::until("it was tried three times", async || waits().len() >= 3).await;
    assert!(waits()[..3].is_sorted(), "{:?}", waits());
    let again = until_state(&cluster, "broken", "it says the same", |_| true).await;
    assert_eq!(again.data["status"]["updateCount"], state.data["status"]["updateCount"]);

    // The older version keeps running when the new one is rejected.
    let good = application("kept", &compile::object("broken"), json!([xdp("sound", &["up0"], 50)]));
    let made = cluster.apply_one(good).await;
    until_success(&cluster, &made).await;
    let bad = application("kept", &compile::object("broken"), json!([xdp("broken", &["up0"], 50)]));
    cluster.apply_one(bad).await;
    let state = until_state(&cluster, "kept", "the new version is refused", |status| {
        status["appLoadStatus"] == "LoadError"
    })
    .await;
    assert!(condition(&state).1.contains("the version before runs on"), "{:?}", condition(&state));
    assert_eq!(links(&node).len(), 1);
}

#[tokio::test]
async fn an_attach_point_that_is_not_there_is_named() {
    let Some((cluster, node, _agent)) = start("absent").await else { return };
    let object = compile::object("chain");
    let programs = json!([xdp("xdp_member", &["up0", "none0"], 50)]);
    cluster.apply_one(application("absent", &object, programs)).await;
    let state = until_state(&cluster, "absent", "the missing one is named", |status| {
        status["programs"][0]["programLinkStatus"] == "Error"
    })
    .await;
    assert!(condition(&state).1.contains("none0"), "{:?}", condition(&state));
    assert_eq!(links(&node).len(), 1, "the other is attached");
    node.add_interface("none0");
    until_state(&cluster, "absent", "both are attached", |status| {
        status["conditions"][0]["reason"] == "Success"
    })
    .await;
    assert_eq!(links(&node).len(), 2);
}

//! Output of `kubectl get`.

use bpfman_cluster_tests::Cluster;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::application::{everything, in_namespace, state};

fn rows(table: &str) -> Vec<Vec<String>> {
    table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

async fn with_status(cluster: &Cluster, object: &Value, status: Value) {
    cluster.apply_one(object.clone()).await;
    let api = cluster.api_of(object).await.unwrap();
    let name = object["metadata"]["name"].as_str().unwrap();
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

fn application_status() -> Value {
    json!({
        "conditions": [{
            "type": "Error", "status": "True", "reason": "Error", "message": "2 of 5000 nodes fail",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }],
        "summary": { "wanted": 5000, "updated": 5000, "healthy": 4998, "failed": 2, "ready": "4998/5000" },
        "rollout": { "phase": "Progressing", "wave": 2, "waves": 3 },
    })
}

#[tokio::test]
async fn applications_show_ready_nodes_and_the_state_of_the_rollout() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("table").await;
    with_status(&cluster, &everything("table"), application_status()).await;
    with_status(&cluster, &in_namespace("table", "table"), application_status()).await;
    for words in [["get", "cbpfapp", "table", "-o=wide"], ["get", "bpfapp", "table", "-ntable"]] {
        let table = rows(&cluster.kubectl(&words).success());
        assert_eq!(table[0], ["NAME", "NODESELECTOR", "STATUS", "READY", "PHASE", "AGE"], "{words:?}");
        let selector = if words[1] == "cbpfapp" { r#"{"matchLabels":{"tier":"edge"}}"# } else { "{}" };
        assert_eq!(table[1][..5], ["table", selector, "Error", "4998/5000", "Progressing"], "{words:?}");
    }
}

#[tokio::test]
async fn states_show_their_node_and_on_demand_its_kernel_and_revision() {
    let Some(cluster) = Cluster::shared().await else { return };
    let object = state("table-0a1b2c3d", "node-1");
    with_status(&cluster, &object, object["status"].clone()).await;
    let short = rows(&cluster.kubectl(&["get", "cbpfappstate", "table-0a1b2c3d"]).success());
    assert_eq!(short[0], ["NAME", "NODE", "STATUS", "AGE"]);
    assert_eq!(short[1][..3], ["table-0a1b2c3d", "node-1", "Success"]);
    let wide = rows(&cluster.kubectl(&["get", "cbpfappstate", "table-0a1b2c3d", "-o", "wide"]).success());
    assert_eq!(wide[0], ["NAME", "NODE", "STATUS", "KERNEL", "REVISION", "AGE"]);
    assert_eq!(wide[1][3..5], ["6.12.0", "a1b2"]);
    cluster.kubectl(&["get", "bpfappstate", "-A"]).success();
}

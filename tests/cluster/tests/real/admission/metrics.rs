//! Metrics of the controller over TLS, for whom the API server lets read them.

use std::fs;

use bpfman_cluster_tests::{Cluster, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::config::Kubeconfig;
use serde_json::json;

use super::{NAMESPACE, configure, controller_with, rights};

/// What a scrape is answered: the text, or the status and its text. Without a certificate of the controller's own
/// authority it would come to neither.
async fn scrape(cluster: &Cluster, authority: &[u8], token: Option<&str>) -> Result<String, (u16, String)> {
    let ca = cluster.path("metrics-ca.crt");
    fs::write(&ca, authority).unwrap();
    let mut config = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let user = json!({ "name": "admin", "user": token.map_or(json!({}), |token| json!({ "token": token })) });
    config.auth_infos = vec![serde_json::from_value(user).unwrap()];
    let server = config.clusters[0].cluster.as_mut().unwrap();
    server.server = Some("https://127.0.0.1:8443".to_owned());
    server.certificate_authority = Some(ca.display().to_string());
    server.certificate_authority_data = None;
    let file = cluster.path("metrics-kubeconfig");
    fs::write(&file, serde_norway::to_string(&config).unwrap()).unwrap();
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    match cluster.client_of(&file).await.request_text(request).await {
        Ok(text) => Ok(text),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(error) => Err((0, error.to_string())),
    }
}

/// The authorities that the Secret of admission names.
pub async fn authority(cluster: &Cluster) -> Vec<u8> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client().await, NAMESPACE);
    let data = secrets.get("bpfman-admission-certificates").await.unwrap().data.unwrap_or_default();
    data.get("ca.crt").map(|authority| authority.0.clone()).unwrap_or_default()
}

#[tokio::test]
async fn metrics_are_for_whom_the_api_server_lets_read_them() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    rights(&cluster).await;
    configure(&cluster).await;
    cluster.namespace("monitoring").await;
    let allowed = cluster.token("monitoring", "prometheus").await;
    let other = cluster.token("monitoring", "other").await;
    cluster
        .apply_one(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "scrapes-bpfman" },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bpfman-metrics-reader",
            },
            "subjects": [{ "kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring" }],
        }))
        .await;
    let mut controller = controller_with(&cluster, "--metrics-bind-address=127.0.0.1:8443", &[], &[]).await;
    wait::until("metrics are read over TLS", async || {
        let answer = scrape(&cluster, &authority(&cluster).await, Some(&allowed)).await;
        answer.is_ok_and(|text| text.contains("bpfman_controller_lists_total"))
    })
    .await;

    let authority = authority(&cluster).await;
    let (code, says) = scrape(&cluster, &authority, Some(&other)).await.unwrap_err();
    assert_eq!(code, 403, "{says}");
    for part in ["system:serviceaccount:monitoring:other", "/metrics", "bpfman-metrics-reader"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    for token in [None, Some("made-up")] {
        let (code, says) = scrape(&cluster, &authority, token).await.unwrap_err();
        assert_eq!(code, 401, "{token:?}: {says}");
        assert!(says.contains("send a token"), "{says}");
    }

    // Who cannot be asked about does not read; who was allowed a moment ago does.
    cluster.kill_api_server();
    let (code, says) = scrape(&cluster, &authority, Some(&other)).await.unwrap_err();
    assert_eq!(code, 503, "{says}");
    assert!(says.contains("the API server does not"), "{says}");
    scrape(&cluster, &authority, Some(&allowed)).await.unwrap();
    assert!(controller.ended().is_none());
}

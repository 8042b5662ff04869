//! Metrics of the controller over TLS, authorized by the API server.

use std::fs;

use bpfman_cluster_tests::{Cluster, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::config::Kubeconfig;
use serde_json::json;

use super::{NAMESPACE, configure, controller_with, rights};

const ADDRESS: &str = "127.0.0.1:8443";

/// Scrapes the controller. With an authority its certificate is verified; without one, any is accepted.
pub async fn scrape(
    cluster: &Cluster,
    address: &str,
    authority: Option<&[u8]>,
    token: Option<&str>,
) -> Result<String, (u16, String)> {
    let mut config = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let user = json!({ "name": "admin", "user": token.map_or(json!({}), |token| json!({ "token": token })) });
    config.auth_infos = vec![serde_json::from_value(user).unwrap()];
    let server = config.clusters[0].cluster.as_mut().unwrap();
    server.server = Some(format!("https://{address}"));
    server.certificate_authority_data = None;
    server.certificate_authority = authority.map(|authority| {
        let ca = cluster.path("metrics-ca.crt");
        fs::write(&ca, authority).unwrap();
        ca.display().to_string()
    });
    server.insecure_skip_tls_verify = Some(authority.is_none());
    let file = cluster.path("metrics-kubeconfig");
    fs::write(&file, serde_norway::to_string(&config).unwrap()).unwrap();
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    match cluster.client_of(&file).await.request_text(request).await {
        Ok(text) => Ok(text),
        Err(kube::Error::Api(status)) => Err((status.code, status.message.clone())),
        Err(error) => Err((0, error.to_string())),
    }
}

pub async fn readers(cluster: &Cluster) -> (String, String) {
    cluster.namespace("monitoring").await;
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
    (cluster.token("monitoring", "prometheus").await, cluster.token("monitoring", "other").await)
}

pub async fn assert_refused(cluster: &Cluster, address: &str, authority: Option<&[u8]>, other: &str) {
    let (code, says) = scrape(cluster, address, authority, Some(other)).await.unwrap_err();
    assert_eq!(code, 403, "{says}");
    for part in ["system:serviceaccount:monitoring:other", "/metrics", "bpfman-metrics-reader"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    for token in [None, Some("made-up")] {
        let (code, says) = scrape(cluster, address, authority, token).await.unwrap_err();
        assert_eq!(code, 401, "{token:?}: {says}");
        assert!(says.contains("send a token"), "{says}");
    }
}

pub async fn assert_cached_decisions(
    cluster: &Cluster,
    address: &str,
    authority: Option<&[u8]>,
    (allowed, other): (&str, &str),
) {
    cluster.kill_api_server();
    let (code, says) = scrape(cluster, address, authority, Some(other)).await.unwrap_err();
    assert_eq!(code, 503, "{says}");
    assert!(says.contains("the API server does not"), "{says}");
    scrape(cluster, address, authority, Some(allowed)).await.unwrap();
}

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
    let (allowed, other) = readers(&cluster).await;
    let mut controller = controller_with(&cluster, "--metrics-bind-address=127.0.0.1:8443", &[], &[]).await;
    wait::until("metrics are read over TLS", async || {
        let answer = scrape(&cluster, ADDRESS, Some(&authority(&cluster).await), Some(&allowed)).await;
        answer.is_ok_and(|text| text.contains("bpfman_controller_lists_total"))
    })
    .await;

    let authority = authority(&cluster).await;
    assert_refused(&cluster, ADDRESS, Some(&authority), &other).await;
    assert_cached_decisions(&cluster, ADDRESS, Some(&authority), (&allowed, &other)).await;
    assert!(controller.ended().is_none());
}

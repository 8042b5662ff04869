//! Admission: the webhook in the API server's own chain, with its packaged permissions.

mod agent_metrics;
mod applications;
mod certificates;
mod console;
mod metrics;
mod prometheus;
mod rights;
mod states;

use std::fs;
use std::path::Path;

use bpfman_cluster_tests::operator::Operator;
use bpfman_cluster_tests::{Cluster, manifests, wait};
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

pub const NAMESPACE: &str = "bpfman";

fn packaged(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/base");
    manifests::parse(&fs::read_to_string(folder.join(file)).unwrap())
}

pub async fn rights(cluster: &Cluster) {
    cluster.namespace(NAMESPACE).await;
    for account in ["bpfman-operator", "bpfman-agent"] {
        cluster.account(NAMESPACE, account).await;
    }
    for file in ["rbac.yaml", "user-roles.yaml", "network-policies.yaml"] {
        for object in packaged(file) {
            cluster.apply_one(object).await;
        }
    }
}

/// Applies the packaged webhooks with an address, since no test has the Service, and a longer timeout.
pub async fn configure(cluster: &Cluster) {
    for mut object in packaged("admission.yaml") {
        for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            webhook["clientConfig"] = json!({ "url": format!("https://127.0.0.1:9443{path}") });
        }
        manifests::wait_for_reviews(&mut object);
        if object["kind"] != "Service" {
            cluster.apply_one(object).await;
        }
    }
}

pub async fn controller(cluster: &Cluster, more: &[&str]) -> Operator {
    controller_with(cluster, "--metrics-bind-address=0", more, &[]).await
}

async fn controller_with(
    cluster: &Cluster,
    metrics: &str,
    more: &[&str],
    environment: &[(String, String)],
) -> Operator {
    let token = cluster.token(NAMESPACE, "bpfman-operator").await;
    let mut flags = vec![
        "--no-deploy",
        "--assume-agents",
        "--leader-elect",
        "--health-probe-bind-address=0",
        metrics,
        "--admission-bind-address=127.0.0.1:9443",
        "--admission-name=127.0.0.1",
    ];
    flags.extend(more);
    let mut all = vec![("POD_NAMESPACE", NAMESPACE)];
    all.extend(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Operator::start(cluster, "controller", &cluster.kubeconfig_with(&token), &flags, &all)
}

async fn reviewed() -> Option<(Cluster, Operator)> {
    let cluster = Cluster::own()?;
    cluster.apply_definitions().await;
    rights(&cluster).await;
    configure(&cluster).await;
    let controller = controller(&cluster, &["--admission-failure-policy=closed"]).await;
    until_reviewed(&cluster).await;
    Some((cluster, controller))
}

pub async fn until_reviewed(cluster: &Cluster) {
    wait::until("applications are reviewed", async || {
        let answer =
            try_create(cluster, &application("probe", |spec| spec["byteCode"] = image("probe"))).await;
        answer.is_err_and(|error| error.to_string().contains("which registry"))
    })
    .await;
}

fn image(url: &str) -> Value {
    json!({ "image": { "url": url } })
}

pub fn application(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({
        "nodeSelector": {},
        "byteCode": image("quay.io/a/b:v1"),
        "programs": [{ "name": "filter", "type": "XDP", "xdp": { "links": [
            { "interfaceSelector": { "interfaces": ["eth0"] } },
        ] } }],
    });
    change(&mut spec);
    json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication",
        "metadata": { "name": name }, "spec": spec,
    })
}

async fn try_create(cluster: &Cluster, object: &Value) -> kube::Result<DynamicObject> {
    let api: Api<DynamicObject> = cluster.api_of(object).await?;
    let object = serde_json::from_value(object.clone()).unwrap();
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
}

pub fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> String {
    match answer {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

//! Cluster controller with a real API server; the test writes the agents' state objects.

mod clocks;
mod deletion;
mod deployment;
mod election;
mod kstatus;
mod outage;
mod sums;
mod taint;
mod words;

use bpfman_application::application::{ApplicationStatus, ClusterBpfApplication};
use bpfman_application::state::application::ClusterBpfApplicationState;
use bpfman_cluster_tests::{Cluster, Operator, wait};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

const SUMS: [&str; 4] =
    ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0", "--metrics-bind-address=0"];

const HELD: &str = "bpfman.io.clbpfapplicationcontroller/finalizer";

async fn cluster() -> Option<Cluster> {
    let cluster = Cluster::own()?;
    cluster.apply_definitions().await;
    cluster.namespace("bpfman").await;
    Some(cluster)
}

fn controller(cluster: &Cluster, flags: &[&str]) -> Operator {
    Operator::start(cluster, "controller", &cluster.kubeconfig(), flags, &[])
}

async fn applications(cluster: &Cluster) -> Api<ClusterBpfApplication> {
    Api::all(cluster.client().await)
}

async fn states(cluster: &Cluster) -> Api<ClusterBpfApplicationState> {
    Api::all(cluster.client().await)
}

async fn application(cluster: &Cluster, name: &str, selector: Value) -> String {
    let object = json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "metadata": { "name": name },
        "spec": {
            "nodeSelector": selector,
            "byteCode": { "image": { "url": "quay.io/bpfman-bytecode/pass:latest" } },
            "programs": [{ "name": "pass", "type": "XDP", "xdp": {} }]
        }
    });
    cluster.apply_one(object).await.metadata.uid.unwrap()
}

async fn answer(cluster: &Cluster, application: (&str, &str), node: &str, status: Value) {
    let (name, uid) = application;
    let object = format!("{name}-{node}");
    cluster
        .apply_one(json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
            "metadata": {
                "name": object,
                "finalizers": [HELD],
                "labels": { "bpfman.io/ownedByProgram": name, "kubernetes.io/hostname": node },
                "ownerReferences": [{
                    "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": name, "uid": uid,
                    "controller": true
                }]
            }
        }))
        .await;
    say(&states(cluster).await, &object, node, status).await;
}

async fn say(states: &Api<ClusterBpfApplicationState>, object: &str, node: &str, more: Value) {
    let mut status = json!({
        "updateCount": 1,
        "node": node,
        "appLoadStatus": "LoadSuccess",
        "observedRevision": "1",
        "kernel": "6.1.0-44-amd64",
        "conditions": [condition("Success")]
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let patch = Patch::Merge(json!({ "status": status }));
    states.patch_status(object, &PatchParams::default(), &patch).await.unwrap();
}

fn condition(type_: &str) -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({ "type": type_, "status": "True", "reason": type_, "message": "so it is", "lastTransitionTime": time })
}

async fn status(
    cluster: &Cluster,
    name: &str,
    what: &str,
    holds: impl Fn(&ApplicationStatus) -> bool,
) -> ApplicationStatus {
    let applications = applications(cluster).await;
    wait::some(what, async || applications.get(name).await.ok()?.status.filter(|status| holds(status))).await
}

fn is(status: &ApplicationStatus, type_: &str) -> bool {
    status.conditions.first().is_some_and(|condition| condition.type_ == type_)
}

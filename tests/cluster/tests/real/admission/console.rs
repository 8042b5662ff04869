//! `kubectl bpfman console` in a real browser, for users with different permissions: through the API server's proxy
//! to a controller with its packaged permissions.

use std::process::Command;

use bpfman_application::state::application::ClusterBpfApplicationState;
use bpfman_cluster_tests::Cluster;
use bpfman_tests::binaries;
use bpfman_tests::command::run;
use bpfman_tests::console::Console;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{NAMESPACE, controller_with, packaged, rights};

/// Address of the controller: API servers do not proxy to loopback addresses.
const ADDRESS: &str = "10.88.0.1";

async fn bind(cluster: &Cluster, account: &str, kind: &str, role: &str) {
    let scope = if kind == "Role" { "RoleBinding" } else { "ClusterRoleBinding" };
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": scope,
        "metadata": { "name": format!("{account}-{role}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": "people" }],
    });
    if kind == "Role" {
        object["metadata"]["namespace"] = NAMESPACE.into();
    }
    cluster.apply_one(object).await;
}

async fn console(cluster: &Cluster, account: &str) -> Console {
    let token = cluster.token("people", account).await;
    let kubeconfig = cluster.kubeconfig_with(&token);
    let mut command: Command = cluster.command(binaries::find("kubectl-bpfman"));
    command.env("KUBECONFIG", kubeconfig).env("HOME", cluster.path(""));
    Console::of(command, Some(&cluster.netns()))
}

async fn application(cluster: &Cluster, name: &str, rollout: Value) -> String {
    let mut object =
        super::application(name, |spec| spec["nodeSelector"] = json!({ "matchLabels": { "tier": "edge" } }));
    if !rollout.is_null() {
        object["spec"]["rollout"] = rollout;
    }
    cluster.apply_one(object).await.metadata.uid.unwrap()
}

async fn answer(cluster: &Cluster, (name, uid): (&str, &str), node: &str, more: Value) {
    let object = format!("{name}-{node}");
    cluster
        .apply_one(json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
            "metadata": {
                "name": object,
                "labels": { "bpfman.io/ownedByProgram": name, "kubernetes.io/hostname": node },
                "ownerReferences": [{
                    "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": name, "uid": uid,
                    "controller": true,
                }],
            },
        }))
        .await;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": kind, "message": "so it is", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let failed = more.get("failure").is_some();
    let mut status = json!({
        "updateCount": 1, "node": node, "appLoadStatus": if failed { "LoadError" } else { "LoadSuccess" },
        "observedRevision": "1", "kernel": "6.1.0-44-amd64",
        "conditions": [condition(if failed { "Error" } else { "Success" })],
    });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let states: Api<ClusterBpfApplicationState> = Api::all(cluster.client().await);
    let patch = Patch::Merge(json!({ "status": status }));
    states.patch_status(&object, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fleet_is_shown_and_changed_as_the_api_server_authorizes() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    rights(&cluster).await;
    // The webhook for state objects is left out, because this test writes them itself.
    for mut object in packaged("admission.yaml") {
        if let Some(webhooks) = object.get_mut("webhooks").and_then(Value::as_array_mut) {
            webhooks.retain(|webhook| webhook["name"] == "applications.bpfman.io");
            webhooks[0]["clientConfig"] = json!({ "url": "https://127.0.0.1:9443/applications" });
        }
        if object["kind"] != "Service" {
            cluster.apply_one(object).await;
        }
    }
    let netns = cluster.netns().display().to_string();
    run(&["nsenter", &format!("--net={netns}"), "ip", "address", "add", "10.88.0.1/32", "dev", "lo"]);
    // The packaged Service is used without its selector, so that it leads to a process of this test.
    for mut object in packaged("operator.yaml") {
        if object["kind"] == "Service" && object["metadata"]["name"] == "bpfman-console" {
            object["spec"].as_object_mut().unwrap().remove("selector");
            cluster.apply_one(object).await;
        }
    }
    cluster.namespace("people").await;
    for node in ["n1", "n2", "n3"] {
        cluster.node(node, &[("tier", "edge")]).await;
    }
    // API servers proxy only to pods, and check that the address belongs to the pod.
    cluster.pod(NAMESPACE, "console", "n1", &[], &[("controller", "containerd://1")]).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, NAMESPACE);
    let own = json!({ "status": { "podIP": ADDRESS, "podIPs": [{ "ip": ADDRESS }] } });
    pods.patch_status("console", &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
    let pod = json!({ "kind": "Pod", "name": "console", "namespace": NAMESPACE });
    cluster
        .apply_one(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "bpfman-console", "namespace": NAMESPACE,
                "labels": { "kubernetes.io/service-name": "bpfman-console" },
            },
            "endpoints": [{ "addresses": [ADDRESS], "conditions": { "ready": true }, "targetRef": pod }],
            "ports": [{ "name": "console", "port": 8447, "protocol": "TCP" }],
        }))
        .await;
    let console_at = format!("--console-bind-address={ADDRESS}:8447");
    let _controller = controller_with(&cluster, "--metrics-bind-address=0", &[&console_at], &[]).await;
    let uid = application(&cluster, "guard", Value::Null).await;
    let rolling =
        application(&cluster, "rolling", json!({ "waves": [1], "manual": true, "preflight": "Never" })).await;
    for node in ["n1", "n2"] {
        answer(&cluster, ("guard", &uid), node, json!({})).await;
    }
    let failure = json!({ "failure": { "reason": "kernel-refused", "program": "filter", "message": "<b>R1 invalid mem access</b>" } });
    answer(&cluster, ("guard", &uid), "n3", failure).await;
    for node in ["n1", "n2", "n3"] {
        answer(&cluster, ("rolling", &rolling), node, json!({})).await;
    }
    for account in ["viewer", "editor", "passer"] {
        bind(&cluster, account, "Role", "bpfman-console-user").await;
    }
    for account in ["viewer", "editor"] {
        bind(&cluster, account, "ClusterRole", "bpfman-console-viewer-role").await;
    }
    bind(&cluster, "editor", "ClusterRole", "bpfman-clusterbpfapplication-editor-role").await;

    let viewing = console(&cluster, "viewer").await;
    let browser = viewing.browser("fleet");
    browser.shows("3 nodes, 1 kernel, 2 applications");
    let failed = "return [...document.querySelectorAll('.band')].find((one) => one.textContent.includes('guard')) \
        ?.querySelector('tbody tr td:last-child').textContent === '1'";
    browser.until("one node of guard failed", failed);
    viewing.go(&browser, "causes");
    browser.shows("<b>R1 invalid mem access</b>");
    browser.shows("kernel-refused");
    viewing.go(&browser, "nodes/n3");
    browser.shows("of filter");
    browser.shows("generation 1");
    viewing.go(&browser, "rollouts");
    browser.shows("rolling");
    let buttons = "return [...document.querySelectorAll('main button')].filter((one) => !one.hidden).length";
    assert_eq!(browser.script(buttons), 0, "who may not change sees no button");
    let session = viewing.begun(&browser);
    let word = json!({ "namespace": null, "name": "rolling", "word": "abort" }).to_string();
    let refused = viewing.post("/api/rollout", &session.headers(), &word);
    assert_eq!(
        (refused.status, refused.json()["error"]["reason"].clone()),
        (403, json!("denied")),
        "{refused:?}"
    );
    assert_eq!(browser.errors(), [""; 0]);

    let editing = console(&cluster, "editor").await;
    let browser = editing.browser("rollouts");
    browser.shows("rolling");
    let mark = cluster.mark();
    let session = editing.begun(&browser);
    let done = editing.post("/api/rollout", &session.headers(), &word);
    assert_eq!(done.status, 200, "{done:?}");
    let requests = cluster.requests_since(mark);
    let writes = requests.iter().filter(|request| request.writes() && request.name == "rolling");
    let users: Vec<&str> = writes.map(|request| request.user.as_str()).collect();
    assert!(users.iter().any(|user| user.ends_with(":people:editor")), "{users:?}");

    // One account may use the proxy but not list applications; the other may not use the proxy.
    for (account, says) in [("passer", "may not list applications"), ("nobody", "cannot get resource")] {
        let refused = console(&cluster, account).await;
        let browser = refused.browser("fleet");
        browser.shows("You may not see this");
        browser.shows(says);
    }
}

//! `kubectl bpfman top`: resource usage of programs on all nodes, from their agents through the API server's proxy.

use std::process::Command;

use bpfman_cluster_tests::{Cluster, Operator};
use bpfman_tests::{Outcome, binaries, compile};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{application, start, until_success, xdp};

const NAMESPACE: &str = "bpfman";
const ADDRESS: &str = "198.51.100.7";
const NOWHERE: &str = "198.51.100.8";

async fn pod_of_agent(cluster: &Cluster, name: &str, node: &str, address: &str) {
    let labels = [("app.kubernetes.io/name", "bpfman-agent")];
    cluster.pod(NAMESPACE, name, node, &labels, &[("agent", "containerd://1")]).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, NAMESPACE);
    let status = json!({ "status": { "podIP": address, "podIPs": [{ "ip": address }] } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

async fn top(cluster: &Cluster, kubeconfig: std::path::PathBuf, words: &str) -> Outcome {
    let mut command: Command = cluster.command(binaries::find("kubectl-bpfman"));
    command.arg("top").args(words.split_whitespace()).env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || Outcome::of(&mut command)).await.unwrap()
}

#[tokio::test]
async fn top_sums_up_agents_and_names_nodes_that_do_not_answer() {
    let Some((cluster, node, agent)) = start("top").await else { return };
    drop(agent);
    let netns = cluster.netns();
    let netns = netns.file_name().unwrap().to_str().unwrap();
    for address in [ADDRESS, NOWHERE] {
        bpfman_tests::command::run(&[
            "ip",
            "-n",
            netns,
            "addr",
            "add",
            &format!("{address}/32"),
            "dev",
            "lo",
        ]);
    }
    let flags = [
        format!("--node-name={}", node.name),
        format!("--daemon-socket={}", node.daemon.socket().display()),
        format!("--health-probe-bind-address={ADDRESS}:8175"),
        "--metrics-bind-address=0".to_owned(),
    ];
    let _agent = Operator::start(&cluster, "agent", &cluster.kubeconfig(), &flags, &[]);
    let object = compile::object("chain");
    let shop = application("shop", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    until_success(&cluster, &cluster.apply_one(shop).await).await;
    cluster.namespace(NAMESPACE).await;
    pod_of_agent(&cluster, "agent-top", "top", ADDRESS).await;

    let outcome = top(&cluster, cluster.kubeconfig(), "-o json").await;
    let fleet = outcome.json();
    assert_eq!(fleet["unanswered"], json!([]));
    assert_eq!((&fleet["nodes"][0]["node"], &fleet["nodes"][0]["programs"]), (&json!("top"), &json!(1)));
    assert!(fleet["nodes"][0]["cpu_percent"].is_number(), "{fleet}");
    let one = &fleet["applications"][0];
    assert_eq!(
        (&one["application"], &one["nodes"], &one["most_on"]),
        (&json!("shop"), &json!(1), &json!("top"))
    );
    assert_eq!(
        (&fleet["programs"][0]["program"], &fleet["programs"][0]["type"]),
        (&json!("xdp_member"), &json!("xdp"))
    );

    pod_of_agent(&cluster, "agent-gone", "gone", NOWHERE).await;
    let outcome = top(&cluster, cluster.kubeconfig(), "programs").await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.contains("xdp_member  xdp   shop"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("node gone did not answer: "), "{}", outcome.stdout);

    cluster.account(NAMESPACE, "looker").await;
    for object in [
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "looker" },
            "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }] }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "looker", "namespace": NAMESPACE },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "looker" },
            "subjects": [{ "kind": "ServiceAccount", "name": "looker", "namespace": NAMESPACE }] }),
    ] {
        cluster.apply_one(object).await;
    }
    let token = cluster.token(NAMESPACE, "looker").await;
    let kubeconfig = cluster.kubeconfig_with(&token);
    let words = format!("nodes --operator-namespace {NAMESPACE}");
    let outcome = top(&cluster, kubeconfig.clone(), &words).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(
        outcome.stdout.contains("node top did not answer: you may not get pods/proxy"),
        "{}",
        outcome.stdout
    );
    let shipped = include_str!("../../../../../packaging/kubernetes/base/user-roles.yaml");
    let role = bpfman_cluster_tests::manifests::parse(shipped).into_iter().find(is_top_role).unwrap();
    cluster.apply_one(role).await;
    cluster
        .apply_one(json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "looker-top", "namespace": NAMESPACE },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bpfman-top-role" },
            "subjects": [{ "kind": "ServiceAccount", "name": "looker", "namespace": NAMESPACE }] }))
        .await;
    bpfman_cluster_tests::wait::until("the role is enough", async || {
        let outcome = top(&cluster, kubeconfig.clone(), &words).await;
        outcome.stdout.lines().any(|line| line.starts_with("top "))
    })
    .await;
}

fn is_top_role(object: &Value) -> bool {
    object["metadata"]["name"] == "bpfman-top-role"
}

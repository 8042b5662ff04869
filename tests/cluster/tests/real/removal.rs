//! `packaging/kubernetes/remove` on a real API server: correct order, repeatable after a failure, nothing left.

use bpfman_cluster_tests::{Cluster, Helm, Operator, Setup, scripts, wait};
use bpfman_tests::Outcome;

use crate::packaging::{kustomized, packaging};

pub fn remove(cluster: &Cluster, helm: Option<&Helm>, words: &[&str]) -> Outcome {
    let mut command = cluster.command(packaging().join("kubernetes/remove"));
    command.env("KUBECONFIG", cluster.kubeconfig()).env("HOME", cluster.path(""));
    if let Some(helm) = helm {
        command.env("PATH", scripts::path_with(&[cluster.path("bin"), helm.folder()]));
    }
    Outcome::of(command.args(words))
}

pub fn nothing_is_left(cluster: &Cluster) {
    let kinds = "crd,clusterroles,clusterrolebindings,csidrivers,validatingwebhookconfigurations,priorityclasses,namespaces";
    let left = cluster.kubectl(&["get", kinds, "-o", "name"]).success();
    assert!(!left.contains("bpfman"), "{left}");
    let left = cluster
        .kubectl(&["get", "roles,rolebindings,daemonsets,secrets,leases", "-A", "-o", "name"])
        .success();
    assert!(!left.contains("bpfman"), "{left}");
}

async fn install(cluster: &Cluster) {
    cluster.apply_definitions().await;
    let mut objects: Vec<_> =
        kustomized("base", "images: [{ name: bpfman-operator, newName: registry.example/operator }]\n")
            .into_iter()
            .filter(|object| object["kind"] != "CustomResourceDefinition")
            .collect();
    objects.sort_by_key(|object| object["kind"] != "Namespace");
    for object in objects {
        cluster.apply_one(object).await;
    }
}

async fn controller(cluster: &Cluster) -> Operator {
    let token = cluster.token("bpfman", "bpfman-operator").await;
    let images = [("BPFMAN_IMG", "daemon:1"), ("BPFMAN_AGENT_IMG", "agent:1")];
    let flags = ["--health-probe-bind-address=0", "--metrics-bind-address=0"];
    Operator::start(cluster, "controller", &cluster.kubeconfig_with(&token), &flags, &images)
}

#[tokio::test]
async fn removal_runs_in_order_and_resumes_after_a_failed_step() {
    let Some(cluster) = Cluster::own_with(Setup { full: true, ..Setup::default() }) else { return };
    install(&cluster).await;
    let running = controller(&cluster).await;
    cluster.namespace("shop").await;
    for object in kustomized("pull-secrets", "namespace: shop\n") {
        cluster.apply_one(object).await;
    }
    cluster.apply_one(crate::application::everything("guard")).await;
    cluster.apply_one(crate::application::in_namespace("shop", "counter")).await;
    for (kind, name) in [("clusterbpfapplications", "guard"), ("-nshop", "bpfapplications/counter")] {
        wait::until("the controller holds it", async || {
            cluster.kubectl(&["get", kind, name, "-o", "yaml"]).stdout.contains("finalizers:")
        })
        .await;
    }
    wait::until("daemons are deployed", async || {
        cluster.kubectl(&["-n", "bpfman", "get", "daemonset", "bpfman-daemon", "bpfman-agent"]).code == 0
    })
    .await;

    let shown = remove(&cluster, None, &[]);
    assert_eq!(shown.code, 1);
    for named in ["guard", "counter", "bpfman-config", "configs.bpfman.io"] {
        assert!(shown.stdout.contains(named), "{named}: {}", shown.stdout);
    }
    remove(&cluster, None, &["--yess"]).fails(2, &["--yes"]);
    remove(&cluster, None, &["--yes", "--namespace", "elsewhere"])
        .fails(1, &["no Deployment bpfman-operator in elsewhere"]);
    cluster.kubectl(&["get", "clusterbpfapplications", "guard"]).success();

    // Without a controller, applications keep their finalizers, and the script removes nothing else.
    drop(running);
    let stuck = remove(&cluster, None, &["--yes", "--timeout", "3"]);
    stuck.fails(1, &["nothing else was removed", "Is the controller running in bpfman?"]);
    cluster.kubectl(&["-n", "bpfman", "get", "deployment", "bpfman-operator"]).success();
    cluster.kubectl(&["get", "configs.bpfman.io", "bpfman-config"]).success();

    let running = controller(&cluster).await;
    let removed = remove(&cluster, None, &["--yes", "--timeout", "120"]).success();
    drop(running);
    let steps = [
        "deleting clusterbpfapplications",
        "deleting the Config",
        "removing the operator",
        "removing the definitions",
        "cleaning every node, with registry.example/operator",
        "nothing of bpfman is left in the cluster, or on its nodes",
    ];
    let places: Vec<_> = steps.iter().map(|step| removed.find(step)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{removed}");
    nothing_is_left(&cluster);
    remove(&cluster, None, &["--yes", "--keep-nodes"]).success();
}

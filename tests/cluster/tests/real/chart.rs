//! Helm chart: equal to the kustomize manifests, and used on a real API server from installation to removal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_application::config::Config;
use bpfman_cluster_tests::{Cluster, Helm, Operator, Setup, manifests, scripts, wait};
use bpfman_tests::Outcome;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::Api;
use serde_json::{Value, json};

use crate::packaging::{kustomized, packaging};

/// Namespace other than that of the manifests, to find places where the manifests' namespace is hard-coded.
const NAMESPACE: &str = "ebpf";

fn chart() -> String {
    packaging().join("helm/bpfman").display().to_string()
}

fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    fs::read_to_string(&path).unwrap(),
                );
            }
        }
    }
    found
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let keyed = |mut object: Value| {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let key =
            format!("{} {}/{}", word(&object["kind"]), word(&metadata["namespace"]), word(&metadata["name"]));
        prune(&mut object);
        (key, object)
    };
    objects.into_iter().map(keyed).collect()
}

fn prune(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Null => true,
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|_, value| !empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[test]
fn chart_equals_output_of_kustomize() {
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("bpfman");
    Outcome::of(Command::new("cp").args(["-r", &chart()]).arg(&copied)).success();
    Outcome::of(scripts::with_kubectl(packaging().join("helm/generate")).arg(&copied)).success();
    let (stored, made) = (files(Path::new(&chart())), files(&copied));
    assert_eq!(stored.keys().collect::<Vec<_>>(), made.keys().collect::<Vec<_>>());
    for (name, text) in &stored {
        assert!(made[name] == *text, "{}: run `make chart`", name.display());
    }
}

#[test]
fn a_rendered_chart_is_what_kustomize_installs() {
    let Some(helm) = Helm::find() else { return };
    helm.run(&["lint", "--strict", &chart()]).success();
    let overlay = "images:
  - { name: bpfman-operator, newName: registry.example/operator, newTag: v1 }
  - { name: bpfman-daemon, newName: registry.example/daemon, newTag: v2 }
";
    let rendered = helm.run(&[
        "template",
        "bpfman",
        &chart(),
        "--namespace=bpfman",
        "--include-crds",
        "--api-versions=policy/v1",
        "--set=images.operator.repository=registry.example/operator,images.operator.tag=v1",
        "--set=images.daemon.repository=registry.example/daemon,images.daemon.tag=v2",
        "--set=monitoring.enabled=true,admissionPolicies.enabled=true",
    ]);
    let mut rendered = by_name(manifests::parse(&rendered.success()));
    let folders = ["base", "monitoring", "policies", "config"];
    let mut wanted = by_name(folders.into_iter().flat_map(|folder| kustomized(folder, overlay)).collect());
    // Helm creates the namespace, and the operator creates the driver.
    for left_out in ["Namespace /bpfman", "CSIDriver /csi.bpfman.io"] {
        assert!(wanted.remove(left_out).is_some(), "{left_out}");
    }
    // Helm must keep the Config; the manifest has no labels.
    let config = rendered.get_mut("Config /bpfman-config").unwrap();
    assert_eq!(config["metadata"]["annotations"], json!({ "helm.sh/resource-policy": "keep" }));
    config["metadata"] = json!({ "name": "bpfman-config" });
    assert_eq!(rendered.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, object) in &wanted {
        assert_eq!(rendered[key], *object, "{key}");
    }
    assert!(wanted.len() > 30, "{} objects", wanted.len());
}

#[test]
fn values_are_in_what_is_installed() {
    let Some(helm) = Helm::find() else { return };
    let template = |words: &[&str]| {
        let chart = chart();
        helm.run(&[&["template", "bpfman", &*chart, "--namespace", NAMESPACE], words].concat())
    };
    let objects = template(&[
        "--set=replicas=1,networkPolicies.enabled=false,images.daemon.digest=sha256:ab,imagePullSecrets[0].name=regcred",
        "--set=config.kubeletDir=/var/lib/k0s/kubelet,config.daemon.csi=false,config.nodeTaint=true",
        "--set-json=config.tolerations=[]",
        "--set-json=config.cni={\"binDir\":\"/opt/bin\"}",
        "--set-json=operator.nodeSelector={\"tier\":\"control\"}",
    ]);
    let objects = by_name(manifests::parse(&objects.success()));
    assert!(!objects.keys().any(|key| key.starts_with("NetworkPolicy") || key.starts_with("PodDisruption")));
    let config = &objects["Config /bpfman-config"]["spec"];
    assert_eq!(
        config["daemon"],
        json!({ "image": "bpfman-daemon@sha256:ab", "logLevel": "info", "csi": false })
    );
    assert_eq!(config["cni"]["binDir"], "/opt/bin");
    assert_eq!((&config["kubeletDir"], &config["tolerations"]), (&json!("/var/lib/k0s/kubelet"), &json!([])));
    assert_eq!((&config["namespace"], &config["nodeTaint"]), (&json!(NAMESPACE), &json!(true)));
    assert_eq!(config["imagePullSecrets"], json!([{ "name": "regcred" }]));
    let pod = &objects[&format!("Deployment {NAMESPACE}/bpfman-operator")]["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "tier": "control" }));
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "regcred" }]));
    let everything = template(&["--set=monitoring.enabled=true,admissionPolicies.enabled=true"]).success();
    for named in ["namespace: bpfman", "bpfman.svc", "serviceaccount:bpfman:", "- bpfman\n"] {
        assert!(!everything.contains(named), "{named}");
    }
}

#[tokio::test]
async fn helm_installs_upgrades_and_rolls_back_on_a_real_server() {
    let Some(helm) = Helm::find() else { return };
    let Some(cluster) = Cluster::own_with(Setup { full: true, ..Setup::default() }) else { return };
    let sets = "--set=images.operator.repository=registry.example/operator,images.daemon.repository=registry.example/daemon";
    let chart = chart();
    let install = ["install", "bpfman", &chart, "--namespace", NAMESPACE, "--create-namespace", sets];
    helm.on(&cluster, &install).success();
    let client = cluster.client().await;
    let configs: Api<Config> = Api::all(client.clone());
    let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    let deployments: Api<Deployment> = Api::namespaced(client, NAMESPACE);
    let made = configs.get("bpfman-config").await.unwrap();
    assert_eq!(made.spec.agent.image, concat!("registry.example/operator:", env!("CARGO_PKG_VERSION")));

    let controller = controller(&cluster).await;
    let daemon = async || {
        let spec = daemons.get_opt("bpfman-daemon").await.unwrap()?.spec?.template.spec?;
        Some(serde_json::to_value(spec).unwrap())
    };
    wait::until("the daemon is deployed", async || daemon().await.is_some()).await;

    let refused = helm.on(
        &cluster,
        &[
            "upgrade",
            "bpfman",
            &chart,
            "--namespace",
            NAMESPACE,
            "--reuse-values",
            "--set=config.kubeletDir=kubelet",
        ],
    );
    assert!(refused.code != 0 && refused.stderr.contains("kubeletDir"), "{}", refused.stderr);
    assert_eq!(configs.get("bpfman-config").await.unwrap().spec.kubelet_dir, None);

    let upgrade = ["upgrade", "bpfman", &chart, "--namespace", NAMESPACE, "--reuse-values"];
    let more = "--set=replicas=3,config.daemon.resources.requests.cpu=50m,config.nodeSelector.tier=edge";
    helm.on(&cluster, &[&upgrade[..], &[more]].concat()).success();
    assert_eq!(deployments.get("bpfman-operator").await.unwrap().spec.unwrap().replicas, Some(3));
    wait::until("the daemon has what the values say", async || {
        daemon().await.is_some_and(|pod| {
            pod["containers"][0]["resources"]["requests"]["cpu"] == "50m"
                && pod["nodeSelector"]["tier"] == "edge"
        })
    })
    .await;

    let history = helm.on(&cluster, &["history", "bpfman", "--namespace", NAMESPACE, "-o=json"]).json();
    let failed: Vec<&Value> =
        history.as_array().unwrap().iter().filter(|one| one["status"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{history}");
    helm.on(&cluster, &["rollback", "bpfman", "1", "--namespace", NAMESPACE]).success();
    wait::until("the daemon is as at first", async || {
        daemon().await.is_some_and(|pod| pod["nodeSelector"]["tier"].is_null())
    })
    .await;

    // Uninstalling the release removes the controller, but nothing that runs on nodes.
    drop(controller);
    helm.on(&cluster, &["uninstall", "bpfman", "--namespace", NAMESPACE]).success();
    assert!(deployments.get_opt("bpfman-operator").await.unwrap().is_none());
    assert!(daemon().await.is_some() && configs.get_opt("bpfman-config").await.unwrap().is_some());

    // A second installation takes over the remaining objects, and the packaged script removes everything.
    helm.on(&cluster, &install).success();
    let controller = self::controller(&cluster).await;
    let remove = ["--yes", "--keep-nodes", "--namespace", NAMESPACE, "--delete-namespace", "--timeout", "90"];
    let removed = crate::removal::remove(&cluster, Some(&helm), &remove).success();
    assert!(removed.contains("nothing of bpfman is left in the cluster\n"), "{removed}");
    crate::removal::nothing_is_left(&cluster);
    assert!(cluster.kubectl(&["get", "namespace", NAMESPACE]).code != 0);
    drop(controller);
}

async fn controller(cluster: &Cluster) -> Operator {
    let token = cluster.token(NAMESPACE, "bpfman-operator").await;
    let images = [("BPFMAN_IMG", "daemon:1"), ("BPFMAN_AGENT_IMG", "agent:1"), ("POD_NAMESPACE", NAMESPACE)];
    let flags = ["--leader-elect", "--health-probe-bind-address=0", "--metrics-bind-address=0"];
    Operator::start(cluster, "controller", &cluster.kubeconfig_with(&token), &flags, &images)
}

//! Deployment of daemon and agent from one object.

use bpfman_application::config::Config;
use bpfman_cluster_tests::{Cluster, Operator, wait};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::cluster;

pub(super) const IMAGES: [(&str, &str); 2] = [("BPFMAN_IMG", "daemon:1"), ("BPFMAN_AGENT_IMG", "agent:1")];
pub(super) const FLAGS: [&str; 2] = ["--health-probe-bind-address=0", "--metrics-bind-address=0"];

#[tokio::test]
async fn config_deploys_daemon_and_agent_and_reverts_changes() {
    let Some(cluster) = cluster().await else { return };
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &IMAGES);
    let client = cluster.client().await;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "bpfman");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "bpfman");
    let drivers: Api<CSIDriver> = Api::all(client.clone());
    let configs: Api<Config> = Api::all(client.clone());
    for (name, image) in [("bpfman-daemon", "daemon:1"), ("bpfman-agent", "agent:1")] {
        wait::until(&format!("{name} is deployed"), async || {
            image_of(&sets, name).await.as_deref() == Some(image)
        })
        .await;
    }
    let driver =
        wait::some("the driver is there", async || drivers.get_opt("csi.bpfman.io").await.unwrap()).await;
    let labels = driver.metadata.labels.unwrap();
    let profile = labels.get("security.openshift.io/csi-ephemeral-volume-profile");
    assert_eq!(profile.map(String::as_str), Some("restricted"));
    let namespace = Api::<Namespace>::all(client).get("bpfman").await.unwrap();
    let labels = namespace.metadata.labels.unwrap();
    assert_eq!(labels.get("pod-security.kubernetes.io/enforce").map(String::as_str), Some("privileged"));
    let said = wait::some("the config says how it is", async || {
        configs.get("bpfman-config").await.ok()?.status.filter(|status| status.observed_generation.is_some())
    })
    .await;
    assert_eq!(condition(&said.conditions, "Degraded"), "False", "{said:?}");
    assert_eq!(condition(&said.conditions, "Available"), "False", "nothing schedules pods here");

    // Field ownership is recorded, and a user who applies a Config becomes its owner without a conflict.
    wait::until("the default is nobody's", async || {
        let made = configs.get("bpfman-config").await.unwrap();
        let managers = made.metadata.managed_fields.unwrap();
        assert!(
            managers.iter().all(|entry| entry.manager.as_deref() == Some("bpfman-operator")),
            "{managers:?}"
        );
        let owns = |fields: &Value| fields.get("f:spec").is_some();
        !managers.iter().any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)))
    })
    .await;
    let own = configs.get("bpfman-config").await.unwrap();
    let own = json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "Config", "metadata": { "name": "bpfman-config" },
        "spec": { "configuration": "[signing]\n", "agent": own.spec.agent, "daemon": own.spec.daemon, "namespace": "bpfman" }
    });
    configs.patch("bpfman-config", &PatchParams::apply("somebody"), &Patch::Apply(own)).await.unwrap();

    let wrong = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "bpfman", "image": "evil:1" }] } } } });
    sets.patch("bpfman-daemon", &PatchParams::default(), &Patch::Strategic(wrong)).await.unwrap();
    maps.delete("bpfman-config", &DeleteParams::default()).await.unwrap();
    wait::until("the image is ours again", async || {
        image_of(&sets, "bpfman-daemon").await.as_deref() == Some("daemon:1")
    })
    .await;
    wait::until("the map is back", async || maps.get_opt("bpfman-config").await.unwrap().is_some()).await;

    // A new configuration reaches the pods by their annotation.
    let text = "[chains]\ncounters = \"on\"\n";
    set(&configs, json!({ "spec": { "configuration": text } })).await;
    wait::until("pods are to restart", async || {
        let template = sets.get("bpfman-daemon").await.unwrap().spec.unwrap().template;
        template.metadata.and_then(|metadata| metadata.annotations).unwrap()["bpfman.io.bpfman.toml"] == text
    })
    .await;

    let entry = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "namespace": "bpfman", "name": "bpfman-agent", "unmanaged": true
    });
    set(&configs, json!({ "spec": { "overrides": [entry], "daemon": { "logLevel": "debug" } } })).await;
    wait::until("the new level is there", async || {
        maps.get("bpfman-config").await.unwrap().data.unwrap()["bpfman.log.level"] == "debug"
    })
    .await;
    let own = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "bpfman-agent", "image": "own:1" }] } } } });
    sets.patch("bpfman-agent", &PatchParams::default(), &Patch::Strategic(own)).await.unwrap();
    drivers.delete("csi.bpfman.io", &DeleteParams::default()).await.unwrap();
    wait::until("the driver is back", async || drivers.get_opt("csi.bpfman.io").await.unwrap().is_some())
        .await;
    assert_eq!(image_of(&sets, "bpfman-agent").await.as_deref(), Some("own:1"));

    configs.delete("bpfman-config", &DeleteParams::default()).await.unwrap();
    wait::until("the config goes", async || configs.get_opt("bpfman-config").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn deleted_config_waits_for_applications_and_names_them() {
    let Some(cluster) = cluster().await else { return };
    config_for(&cluster, "bpfman").await;
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &IMAGES);
    super::application(&cluster, "guard", json!({})).await;
    let client = cluster.client().await;
    let configs: Api<Config> = Api::all(client.clone());
    let sets: Api<DaemonSet> = Api::namespaced(client, "bpfman");
    wait::until("the agent is deployed", async || image_of(&sets, "bpfman-agent").await.is_some()).await;

    configs.delete("bpfman-config", &DeleteParams::default()).await.unwrap();
    let said = wait::some("it says what it waits for", async || {
        let status = configs.get("bpfman-config").await.ok()?.status?;
        (condition(&status.conditions, "Degraded") == "True").then_some(status)
    })
    .await;
    let message = &said.conditions.iter().find(|condition| condition.type_ == "Degraded").unwrap().message;
    assert!(message.ends_with("until these applications are deleted: guard"), "{message}");
    // During deletion, a removed DaemonSet is restored: its agent still has to unload programs.
    sets.delete("bpfman-agent", &DeleteParams::default()).await.unwrap();
    wait::until("the agent is back", async || image_of(&sets, "bpfman-agent").await.is_some()).await;

    super::applications(&cluster).await.delete("guard", &DeleteParams::default()).await.unwrap();
    wait::until("the config goes", async || configs.get_opt("bpfman-config").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_missing_namespace_is_said_in_the_status() {
    let Some(cluster) = cluster().await else { return };
    config_for(&cluster, "nowhere").await;
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &IMAGES);
    let configs: Api<Config> = Api::all(cluster.client().await);
    let said = wait::some("it is degraded", async || {
        let status = configs.get("bpfman-config").await.ok()?.status?;
        (condition(&status.conditions, "Degraded") == "True").then_some(status)
    })
    .await;
    let message = &said.conditions.iter().find(|condition| condition.type_ == "Degraded").unwrap().message;
    assert!(message.contains("namespace nowhere: not found; create it"), "{message}");
    cluster.namespace("nowhere").await;
    wait::until("it recovers", async || {
        let status = configs.get("bpfman-config").await.unwrap().status.unwrap();
        condition(&status.conditions, "Degraded") == "False"
    })
    .await;
}

#[tokio::test]
async fn pod_settings_reach_pods_and_invalid_ones_change_nothing() {
    let Some(cluster) = cluster().await else { return };
    config_for(&cluster, "bpfman").await;
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &IMAGES);
    let client = cluster.client().await;
    let sets: Api<DaemonSet> = Api::namespaced(client.clone(), "bpfman");
    let configs: Api<Config> = Api::all(client);
    let pod_of = async |name: &str| {
        let spec = sets.get_opt(name).await.unwrap()?.spec?.template.spec?;
        Some(serde_json::to_value(spec).unwrap())
    };
    wait::until("both are deployed", async || pod_of("bpfman-agent").await.is_some()).await;

    // The server normalizes these quantities: it writes 1 and 1Gi.
    let resources = json!({ "requests": { "cpu": "1000m" }, "limits": { "cpu": "2", "memory": "1024Mi" } });
    let said = json!({ "spec": {
        "kubeletDir": "/var/lib/k0s/kubelet", "nodeSelector": { "tier": "edge" },
        "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }],
        "priorityClassName": "system-cluster-critical", "imagePullSecrets": [{ "name": "registry" }],
        "daemon": { "resources": resources },
    } });
    set(&configs, said).await;
    wait::until("what was said is there", async || {
        let (Some(daemon), Some(agent)) = (pod_of("bpfman-daemon").await, pod_of("bpfman-agent").await)
        else {
            return false;
        };
        let both = [&daemon, &agent].into_iter().all(|pod| {
            pod["nodeSelector"]["tier"] == "edge"
                && pod["priorityClassName"] == "system-cluster-critical"
                && pod["imagePullSecrets"] == json!([{ "name": "registry" }])
                && pod["tolerations"][0]["key"] == "gpu"
        });
        both && daemon["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
            && daemon["volumes"].to_string().contains("/var/lib/k0s/kubelet/pods")
    })
    .await;
    wait::until("it is as it should be", async || {
        let status = configs.get("bpfman-config").await.unwrap().status.unwrap_or_default();
        let generation = configs.get("bpfman-config").await.unwrap().metadata.generation;
        status.observed_generation == generation && condition(&status.conditions, "Degraded") == "False"
    })
    .await;

    for (field, spec) in [
        ("spec.kubeletDir", json!({ "kubeletDir": "/var/lib/../etc" })),
        ("spec.nodeSelector.tier", json!({ "nodeSelector": { "tier": "no label!" } })),
        ("spec.tolerations", json!({ "tolerations": [{ "key": "a", "operator": "Maybe" }] })),
        (
            "spec.daemon.resources.requests.cpu",
            json!({ "daemon": { "resources": { "requests": { "cpu": "much" } } } }),
        ),
        ("spec.priorityClassName", json!({ "priorityClassName": "No Name" })),
        ("spec.cni.confDir", json!({ "cni": { "image": "cni:1", "confDir": "etc" } })),
    ] {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let refused = configs.patch("bpfman-config", &PatchParams::default(), &patch).await.unwrap_err();
        assert!(refused.to_string().contains(field), "{field}: {refused}");
    }

    // Only the controller can detect these errors. It then changes nothing, not even images.
    let before = (pod_of("bpfman-daemon").await, pod_of("bpfman-agent").await);
    for (says, spec) in [
        ("there is no PriorityClass nobody", json!({ "priorityClassName": "nobody" })),
        ("daemons run on linux only", json!({ "nodeSelector": { "kubernetes.io/os": "windows" } })),
        ("leave value out", json!({ "tolerations": [{ "key": "a", "operator": "Exists", "value": "b" }] })),
        (
            "must be less than or equal to cpu limit",
            json!({ "agent": { "resources": { "requests": { "cpu": 2 }, "limits": { "cpu": 1 } } } }),
        ),
    ] {
        let kept = configs.get("bpfman-config").await.unwrap();
        let mut patch = json!({ "spec": spec });
        patch["spec"]["daemon"]["image"] = json!("daemon:2");
        set(&configs, patch).await;
        let told = wait::some("it says what cannot be", async || {
            let status = configs.get("bpfman-config").await.ok()?.status?;
            let stalled = status.conditions.into_iter().find(|condition| condition.type_ == "Stalled")?;
            (stalled.status == "True" && stalled.message.contains(says)).then_some(stalled.message)
        })
        .await;
        assert!(told.contains("nothing was changed"), "{told}");
        assert_eq!((pod_of("bpfman-daemon").await, pod_of("bpfman-agent").await), before, "{says}");
        let mut now = configs.get("bpfman-config").await.unwrap();
        now.spec = kept.spec;
        configs.replace("bpfman-config", &PostParams::default(), &now).await.unwrap();
        wait::until("it was taken back", async || {
            let status = configs.get("bpfman-config").await.unwrap().status.unwrap();
            condition(&status.conditions, "Stalled") == "False"
        })
        .await;
    }

    set(&configs, json!({ "spec": { "nodeSelector": null, "imagePullSecrets": null, "daemon": { "resources": null } } })).await;
    wait::until("what was said no more is gone", async || {
        let daemon = pod_of("bpfman-daemon").await.unwrap();
        daemon["nodeSelector"] == json!({ "kubernetes.io/os": "linux" })
            && daemon["imagePullSecrets"].is_null()
            && daemon["containers"][0]["resources"]
                == json!({ "requests": { "cpu": "10m", "memory": "64Mi" } })
    })
    .await;
}

#[tokio::test]
async fn without_images_it_does_not_start() {
    let Some(cluster) = bpfman_cluster_tests::Cluster::shared().await else { return };
    let mut controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &[]);
    let status = wait::some("it ends", async || controller.ended()).await;
    assert_eq!(status.code(), Some(1));
    assert!(controller.log().contains("BPFMAN_IMG is not set"), "{}", controller.log());
}

pub(super) async fn config_for(cluster: &Cluster, namespace: &str) {
    cluster
        .apply_one(json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "Config", "metadata": { "name": "bpfman-config" },
            "spec": {
                "namespace": namespace, "configuration": "[signing]\n",
                "agent": { "image": "agent:1" }, "daemon": { "image": "daemon:1" }
            }
        }))
        .await;
}

async fn set(configs: &Api<Config>, patch: Value) {
    configs.patch("bpfman-config", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn image_of(sets: &Api<DaemonSet>, name: &str) -> Option<String> {
    sets.get_opt(name).await.unwrap()?.spec?.template.spec?.containers.first()?.image.clone()
}

fn condition(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: &str,
) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|condition| condition.status.clone()).unwrap_or_default()
}

//! Writing objects: server-side apply, field ownership, status, defaults, unknown fields.

use bpfman_application::application::ClusterBpfApplication;
use bpfman_application::condition::unseen;
use bpfman_cluster_tests::Cluster;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::application::{everything, in_namespace};

async fn applications(cluster: &Cluster) -> Api<DynamicObject> {
    cluster.api_of(&everything("any")).await.unwrap()
}

async fn apply(api: &Api<DynamicObject>, who: &str, name: &str, what: &Value) -> kube::Result<DynamicObject> {
    api.patch(name, &PatchParams::apply(who), &Patch::Apply(what)).await
}

fn only(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn another_owner_of_a_field_is_named_in_the_conflict() {
    let Some(cluster) = Cluster::shared().await else { return };
    let api = applications(&cluster).await;
    let mut application = everything("owned");
    apply(&api, "delivery", "owned", &application).await.unwrap();

    application["spec"]["byteCode"]["image"]["url"] = json!("quay.io/acme/everything:v2");
    let error = apply(&api, "someone", "owned", &application).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error}") };
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    assert!(status.message.contains("\"delivery\""), "{}", status.message);
    assert!(status.message.contains(".spec.byteCode.image.url"), "{}", status.message);
    let stored = api.get("owned").await.unwrap();
    assert_eq!(stored.data["spec"]["byteCode"]["image"]["url"], "quay.io/acme/everything:v1");
}

#[tokio::test]
async fn two_owners_share_an_object_by_its_fields() {
    let Some(cluster) = Cluster::shared().await else { return };
    let api = applications(&cluster).await;
    let mut application = everything("shared");
    application["spec"].as_object_mut().unwrap().remove("rollout");
    apply(&api, "delivery", "shared", &application).await.unwrap();
    let ours = only("shared", json!({ "rollout": { "paused": true } }));
    // A manager may omit required fields that it does not own.
    apply(&api, "release-manager", "shared", &ours).await.unwrap();
    apply(&api, "delivery", "shared", &application).await.unwrap();
    let stored = api.get("shared").await.unwrap();
    assert_eq!(stored.data["spec"]["rollout"]["paused"], true);
    assert_eq!(stored.data["spec"]["programs"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn the_status_is_written_apart_and_leaves_the_generation() {
    let Some(cluster) = Cluster::shared().await else { return };
    let api = applications(&cluster).await;
    let mut application = everything("apart");
    application["status"] = json!({ "observedGeneration": 99 });
    let created = apply(&api, "delivery", "apart", &application).await.unwrap();
    assert_eq!(created.data["status"], unseen(), "a user cannot write the status");
    assert_eq!(created.metadata.generation, Some(1));

    let status = json!({ "status": { "observedGeneration": 1, "conditions": [{
        "type": "Success", "status": "True", "reason": "Success", "message": "attached",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]}, "spec": { "rollout": { "paused": true } }});
    let written = api.patch_status("apart", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(written.metadata.generation, Some(1));
    assert_eq!(written.data["status"]["observedGeneration"], 1);
    assert_eq!(
        written.data["spec"]["rollout"]["paused"], false,
        "the controller cannot write the spec that way"
    );

    let change = json!({ "spec": { "rollout": { "paused": true } } });
    let changed = api.patch("apart", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    assert_eq!(changed.data["status"]["observedGeneration"], 1);
}

#[tokio::test]
async fn omitted_fields_get_defaults() {
    let Some(cluster) = Cluster::shared().await else { return };
    let application = only(
        "defaults",
        json!({
            "nodeSelector": {},
            "byteCode": { "image": { "url": "quay.io/acme/small:v1" } },
            "rollout": {},
            "programs": [
                { "name": "count_xdp", "type": "XDP", "xdp": { "links": [
                    { "interfaceSelector": { "interfacesDiscoveryConfig": {} } },
                ]}},
                { "name": "count_tc", "type": "TC", "tc": { "links": [
                    { "interfaceSelector": { "interfaces": ["eth0"] }, "direction": "Ingress" },
                ]}},
                { "name": "on_wake", "type": "KProbe", "kprobe": { "links": [{ "function": "try_to_wake_up" }] } },
                { "name": "on_malloc", "type": "UProbe", "uprobe": { "links": [{ "target": "libc" }] } },
            ],
        }),
    );
    let stored = cluster.apply_one(application).await.data;
    let spec = &stored["spec"];
    assert_eq!(spec["byteCode"]["image"]["imagePullPolicy"], "IfNotPresent");
    let xdp = &spec["programs"][0]["xdp"]["links"][0];
    assert_eq!(xdp["proceedOn"], json!(["Pass", "DispatcherReturn"]));
    assert_eq!(xdp["onUnavailable"], "open");
    // The agent sets the default: the stored object still shows that no priority was set.
    assert!(xdp["priority"].is_null());
    let discovery = &xdp["interfaceSelector"]["interfacesDiscoveryConfig"];
    assert_eq!(discovery, &json!({ "excludeInterfaces": ["lo"], "interfaceAutoDiscovery": false }));
    assert_eq!(spec["programs"][1]["tc"]["links"][0]["proceedOn"], json!(["Pipe", "DispatcherReturn"]));
    assert_eq!(spec["programs"][2]["kprobe"]["links"][0]["offset"], 0);
    assert_eq!(spec["programs"][3]["uprobe"]["links"][0]["offset"], 0);
    let rollout = &spec["rollout"];
    assert_eq!((&rollout["preflight"], &rollout["onFailure"]), (&json!("Always"), &json!("Rollback")));
    assert_eq!((&rollout["paused"], &rollout["progressDeadlineSeconds"]), (&json!(false), &json!(300)));
    let typed: Api<ClusterBpfApplication> = Api::all(cluster.client().await);
    assert_eq!(typed.get("defaults").await.unwrap().spec.programs.len(), 4);
}

#[tokio::test]
async fn fields_that_nobody_knows_are_dropped() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("dropped").await;
    let mut application = in_namespace("dropped", "dropped");
    let plain = cluster.apply_one(application.clone()).await.data;
    application["spec"]["tpyo"] = json!(1);
    application["spec"]["programs"][0]["xdp"]["mode"] = json!("native");
    // Newer servers reject unknown fields in server-side apply, this one drops them; in neither case are they stored.
    if let Ok(stored) = cluster.try_apply(application.clone()).await {
        assert_eq!(stored.data["spec"], plain["spec"]);
    }
    let api = cluster.api_of(&application).await.unwrap();
    let patch = json!({ "spec": { "tpyo": 1, "programs": application["spec"]["programs"] } });
    let stored = api.patch("dropped", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(stored.data["spec"], plain["spec"]);
}

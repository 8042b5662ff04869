//! Upgrade from the published definitions to the project's, with stored objects.

use bpfman_cluster_tests::Cluster;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::application::{everything, state};

pub fn published(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    let mut value = serde_json::to_value(crd).unwrap();
    for ours in ["shortNames", "categories"] {
        value["spec"]["names"].as_object_mut().unwrap().remove(ours);
    }
    let version = &mut value["spec"]["versions"][0];
    version.as_object_mut().unwrap().remove("selectableFields");
    if let Some(columns) = version["additionalPrinterColumns"].as_array_mut() {
        columns.retain(|column| {
            !["Ready", "Phase", "Kernel", "Revision", "Namespace", "Daemon", "Agent"]
                .contains(&column["name"].as_str().unwrap())
        });
    }
    let schema = &mut version["schema"]["openAPIV3Schema"];
    for path in [
        "spec",
        "status",
        "status.programs.[]",
        "spec.programs.[].xdp.links.[]",
        "spec.programs.[].tc.links.[]",
        "spec.programs.[].tcx.links.[]",
    ] {
        let mut at = Some(&mut *schema);
        for step in path.split('.') {
            at = at.and_then(
                |at| if step == "[]" { at.get_mut("items") } else { at["properties"].get_mut(step) },
            );
        }
        if let Some(fields) = at.and_then(|at| at["properties"].as_object_mut()) {
            for ours in OURS {
                fields.remove(*ours);
            }
        }
    }
    // Values of global variables are base64 in the published definition.
    let schema = &mut value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    if let Some(values) = schema.pointer_mut("/properties/spec/properties/globalData") {
        values["additionalProperties"] = json!({ "type": "string", "format": "byte" });
    }
    serde_json::from_value(value).unwrap()
}

const OURS: &[&str] = &[
    "rollout",
    "order",
    "onUnavailable",
    "summary",
    "observedGeneration",
    "observedRevision",
    "kernel",
    "bootId",
    "digest",
    "composition",
    "failure",
    "unmatched",
    "preflight",
    "health",
];

#[tokio::test]
async fn stored_objects_live_through_the_change_and_can_then_say_more() {
    let Some(cluster) = Cluster::undefined() else { return };
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    for definition in bpfman_application::crd::all() {
        definitions.create(&PostParams::default(), &published(&definition)).await.unwrap();
    }
    let mut plain = everything("kept");
    plain["spec"].as_object_mut().unwrap().remove("rollout");
    let link = &mut plain["spec"]["programs"][0]["xdp"]["links"][0];
    link.as_object_mut().unwrap().retain(|field, _| !["order", "onUnavailable"].contains(&&**field));
    bpfman_cluster_tests::wait::until("applications are served", async || {
        cluster.try_apply(plain.clone()).await.is_ok()
    })
    .await;
    let status = state("kept-0a1b2c3d", "node-1");
    let states = bpfman_cluster_tests::wait::some("states are served", async || {
        cluster.try_apply(json!({ "apiVersion": status["apiVersion"], "kind": status["kind"], "metadata": status["metadata"] })).await.ok()?;
        cluster.api_of(&status).await.ok()
    })
    .await;
    let write = Patch::Merge(json!({ "status": status["status"] }));
    let written = states.patch_status("kept-0a1b2c3d", &PatchParams::default(), &write).await.unwrap();
    assert!(written.data["status"]["kernel"].is_null(), "the published definition has no such field");

    // Like in samples of the published operator: the schema declares base64, but the server accepts a list.
    let mut listed = plain.clone();
    listed["metadata"]["name"] = json!("listed");
    listed["spec"]["globalData"] = json!({ "sampling": [1, 0, 0, 0] });
    let api = cluster.api_of(&listed).await.unwrap();
    api.create(&PostParams::default(), &serde_json::from_value(listed.clone()).unwrap()).await.unwrap();

    let before = cluster.api_of(&plain).await.unwrap().get("kept").await.unwrap();
    cluster.apply_definitions().await;
    // Reading the object adds new defaults; nothing else changed, and the object was not written.
    let api = cluster.api_of(&plain).await.unwrap();
    let more = everything("kept");
    let after = bpfman_cluster_tests::wait::some("the new fields are known", async || {
        let after = api.get("kept").await.unwrap();
        (after.data["spec"]["programs"][0]["xdp"]["links"][0]["onUnavailable"] == "open").then_some(after)
    })
    .await;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
    assert_eq!(without_defaults(after.data["spec"].clone()), before.data["spec"]);
    let state = states.get("kept-0a1b2c3d").await.unwrap();
    assert_eq!(state.data["status"], written.data["status"]);

    let applied = cluster.apply_one(listed.clone()).await;
    assert_eq!(applied.data["spec"]["globalData"], listed["spec"]["globalData"]);

    let stored = cluster.apply_one(more).await;
    assert_eq!(stored.data["spec"]["rollout"]["waves"], json!([1, "50%"]));
    let written = states.patch_status("kept-0a1b2c3d", &PatchParams::default(), &write).await.unwrap();
    assert_eq!(written.data["status"]["kernel"], "6.12.0");
}

fn without_defaults(mut spec: Value) -> Value {
    for program in spec["programs"].as_array_mut().unwrap() {
        for kind in ["xdp", "tc", "tcx"] {
            let links = program.pointer_mut(&format!("/{kind}/links")).and_then(Value::as_array_mut);
            for link in links.into_iter().flatten() {
                link.as_object_mut().unwrap().remove("onUnavailable");
            }
        }
    }
    spec
}

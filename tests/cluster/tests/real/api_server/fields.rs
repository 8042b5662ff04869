//! Definitions of a later release: fields and values that this operator does not know.

use bpfman_application::crd;
use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::compile;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::agent::equipment::{agent, application, links, objects, until_state, until_success, xdp};

/// Applies a simulated later release: one more field in each part of an object, and one more program type.
async fn later_definitions(cluster: &Cluster) {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    for definition in crd::all() {
        let name = definition.metadata.name.clone().unwrap();
        let mut value = serde_json::to_value(definition).unwrap();
        let schema = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        add(schema);
        let apply = PatchParams::apply("later").force();
        definitions.patch(&name, &apply, &Patch::Apply(&value)).await.unwrap();
    }
}

fn add(schema: &mut Value) {
    if let Some(values) = schema["enum"].as_array_mut()
        && values.contains(&json!("XDP"))
    {
        values.push(json!("Later"));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(add);
        if !properties.contains_key("kind") {
            let later = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
            properties.insert("later".to_owned(), later);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        add(items);
    }
}

#[tokio::test]
async fn fields_of_a_later_release_are_passed_over_and_stay() {
    let Some(cluster) = Cluster::undefined() else { return };
    cluster.apply_definitions().await;
    later_definitions(&cluster).await;
    cluster.namespace("bpfman").await;
    let node = Node::start(&cluster, "one", &[("zone", "one")]).await;
    node.add_interface("up0");
    let _agent = agent(&cluster, "one", &node.daemon.socket());
    let flags =
        ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0", "--metrics-bind-address=0"];
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags, &[]);

    let later = json!({ "number": 1, "list": [{ "name": "x" }] });
    let object = compile::object("chain");
    let mut wanted = application("later", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    for place in ["/spec", "/spec/programs/0", "/spec/programs/0/xdp", "/spec/programs/0/xdp/links/0"] {
        wanted.pointer_mut(place).unwrap()["later"] = later.clone();
    }
    wait::until("the later definitions are served", async || {
        cluster.apply_one(wanted.clone()).await.data["spec"]["later"] == later
    })
    .await;
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    let status = Patch::Merge(json!({ "status": { "later": later } }));
    applications.patch_status("later", &PatchParams::default(), &status).await.unwrap();

    let stored = applications.get("later").await.unwrap();
    until_success(&cluster, &stored).await;
    assert_eq!(links(&node).len(), 1);
    wait::until("the controller sums up", async || {
        let now = applications.get("later").await.unwrap();
        now.data["status"]["conditions"][0]["type"] == "Success"
    })
    .await;
    // This controller removes status fields that it cannot keep up to date. The users' spec stays.
    let now = applications.get("later").await.unwrap();
    assert_eq!(now.data["status"]["later"], Value::Null);
    assert_eq!(now.data["spec"], stored.data["spec"]);
    assert_eq!(now.metadata.generation, stored.metadata.generation);

    let mut unknown = application("unknown", &object, json!([xdp("xdp_another", &["up0"], 60)]));
    unknown["spec"]["programs"][0] = json!({ "name": "something", "type": "Later", "later": {} });
    // Servers accept this list with create, but not with server-side apply, because it is not base64.
    unknown["spec"]["globalData"] = json!({ "sampling": [1, 0, 0, 0] });
    applications.create(&PostParams::default(), &serde_json::from_value(unknown).unwrap()).await.unwrap();
    node.add_interface("up1");
    let both = json!([xdp("xdp_member", &["up0", "up1"], 50)]);
    let edited = cluster.apply_one(application("later", &object, both)).await;
    until_success(&cluster, &edited).await;
    assert_eq!(links(&node).len(), 2);
    let told = until_state(&cluster, "unknown", "it says what it does not know", |status| {
        status["conditions"][0]["message"].as_str().is_some_and(|message| message.contains("Later"))
    })
    .await;
    assert_eq!(told.data["status"]["appLoadStatus"], "LoadError", "{:?}", told.data);
    wait::until("the controller says so too", async || {
        applications.get("unknown").await.unwrap().data["status"]["conditions"][0]["type"] == "Error"
    })
    .await;
}

#[tokio::test]
async fn states_are_chosen_by_their_node() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    for (name, node) in [("guard-1", "one"), ("guard-2", "two"), ("guard-3", "one")] {
        let object = crate::application::state(name, node);
        cluster.apply_one(object.clone()).await;
        let api = cluster.api_of(&object).await.unwrap();
        let status = Patch::Merge(json!({ "status": object["status"] }));
        api.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    wait::until("two are of that node", async || {
        let of_one = states.list(&ListParams::default().fields("status.node=one")).await.unwrap();
        let names: Vec<_> = of_one.items.iter().filter_map(|state| state.metadata.name.as_deref()).collect();
        names == ["guard-1", "guard-3"]
    })
    .await;
    let refused = states.list(&ListParams::default().fields("status.kernel=6.12.0")).await.unwrap_err();
    assert!(refused.to_string().contains("status.kernel"), "{refused}");
}

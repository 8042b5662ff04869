//! Applications that admission rejects.

use std::fs;

use bpfman_cluster_tests::wait;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{application, image, refusal, reviewed, try_create};

fn link(spec: &mut Value) -> &mut Value {
    &mut spec["programs"][0]["xdp"]["links"][0]
}

/// Message of the webhook, and the message of servers that evaluate rules in definitions first.
const TYPE_AND_BLOCK: [&str; 2] =
    ["spec.programs[0].tc: it is missing: type TC needs the block tc", "the block tc belongs to type TC"];

fn ordered(name: &str, program: &str, interface: &str, order: Value) -> Value {
    application(name, |spec| {
        spec["programs"][0]["name"] = json!(program);
        *link(spec) = json!({ "interfaceSelector": { "interfaces": [interface] }, "order": order });
    })
}

#[tokio::test]
async fn errors_beyond_schemas_are_refused_with_field_and_advice() {
    let Some((cluster, _controller)) = reviewed().await else { return };
    let discovery = |entries: Value| json!({ "interfacesDiscoveryConfig": { "allowedInterfaces": entries } });
    let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(63));
    let value = |value: Value| application("a", |spec| spec["globalData"] = json!({ "sampling": value }));
    let refused: Vec<(Value, &str)> = vec![
        (application("a", |spec| spec["byteCode"] = image("xdp_pass:v1")), "which registry"),
        (application("a", |spec| spec["byteCode"] = image(&digest)), "is no digest"),
        (application("a", |spec| spec["programs"][0]["type"] = json!("TC")), TYPE_AND_BLOCK[0]),
        (
            application("a", |spec| {
                link(spec)["interfaceSelector"] = json!({ "interfaces": ["a-name-of-16-byte"] })
            }),
            "spec.programs[0].xdp.links[0].interfaceSelector.interfaces[0]: \"a-name-of-16-byte\" is no name",
        ),
        (
            application("a", |spec| link(spec)["interfaceSelector"] = discovery(json!(["/eth[/"]))),
            "allowedInterfaces[0]: \"/eth[/\" is no pattern",
        ),
        (
            application("a", |spec| link(spec)["interfaceSelector"] = discovery(json!(["/eth"]))),
            "allowedInterfaces[0]: \"/eth\" matches nothing",
        ),
        (
            application("a", |spec| spec["rollout"] = json!({ "waves": ["10%", "5%"] })),
            "spec.rollout.waves[1]: 5% does not grow",
        ),
        (
            application("a", |spec| spec["rollout"] = json!({ "gates": {} })),
            "spec.rollout.gates: they have no bound",
        ),
        (value(json!(1)), "spec.globalData.sampling"),
        (value(json!({ "bytes": "AQ==" })), "spec.globalData.sampling"),
        (value(json!("no base64!")), "spec.globalData.sampling"),
        (value(json!([1, 256])), "spec.globalData.sampling"),
    ];
    let mut wrong = Vec::new();
    for (object, says) in refused {
        let message = refusal(try_create(&cluster, &object).await);
        let expected = if says == TYPE_AND_BLOCK[0] {
            message.contains(TYPE_AND_BLOCK[1]) && message.contains("spec.programs[0]")
        } else {
            message.contains(says) && message.contains("applications.bpfman.io")
        };
        if !expected {
            wrong.push(format!("expected {says}, got {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The API server would store this spec, but a revision of it would be too large.
    let large = application("a", |spec| {
        let one = link(spec).clone();
        spec["programs"][0]["xdp"]["links"] = vec![one; 13_000].into();
    });
    let message = refusal(try_create(&cluster, &large).await);
    assert!(message.contains("spec: it has ") && message.contains("at most 1048576 are kept"), "{message}");

    // A namespaced application may not name a secret of another namespace.
    cluster.namespace("shop").await;
    let mut namespaced = application("a", |spec| {
        spec["byteCode"]["image"]["imagePullSecret"] = json!({ "name": "pull", "namespace": "bank" });
        link(spec)["networkNamespaces"] = json!({ "pods": {} });
    });
    namespaced["kind"] = json!("BpfApplication");
    namespaced["metadata"]["namespace"] = json!("shop");
    let message = refusal(try_create(&cluster, &namespaced).await);
    assert!(message.contains("only secrets of \"shop\" are allowed"), "{message}");

    let doubtful = application("doubtful", |spec| {
        spec["rollout"] = json!({});
        spec["byteCode"]["image"]["imagePullSecret"] = json!({ "name": "pull", "namespace": "shop" });
        link(spec)["order"] = json!({ "after": ["nobody_here"] });
    });
    let file = cluster.path("doubtful.yaml");
    fs::write(&file, doubtful.to_string()).unwrap();
    let outcome = cluster.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    for warning in ["@sha256:DIGEST", "no application has \"nobody_here\""] {
        assert!(outcome.stderr.contains(warning), "no warning {warning}: {}", outcome.stderr);
    }
    // The webhook does not read secrets: otherwise any client of its port could find out which exist.
    assert!(!outcome.stderr.contains("Secret"), "{}", outcome.stderr);
}

/// Cluster applications take precedence: an order against them is rejected in a namespaced application only.
#[tokio::test]
async fn an_order_against_ranks_is_refused_to_a_namespace_alone() {
    let Some((cluster, _controller)) = reviewed().await else { return };
    cluster.namespace("tenant").await;
    let in_pods = |mut object: Value, namespace: Option<&str>| {
        let pods = match namespace {
            None => json!({ "namespace": "tenant", "pods": {} }),
            Some(_) => json!({ "pods": {} }),
        };
        link(&mut object["spec"])["networkNamespaces"] = pods;
        if let Some(namespace) = namespace {
            object["kind"] = json!("BpfApplication");
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let tenant = in_pods(ordered("shop", "count", "eth0", json!({ "before": ["filter"] })), Some("tenant"));
    cluster.apply_one(tenant.clone()).await;
    let wall = in_pods(ordered("wall", "filter", "eth0", json!({ "before": ["count"] })), None);
    cluster.apply_one(wall).await;
    let again = in_pods(ordered("again", "count", "eth0", json!({ "before": ["filter"] })), Some("tenant"));
    wait::until("the cluster's is known", async || try_create(&cluster, &again).await.is_err()).await;
    let message = refusal(try_create(&cluster, &again).await);
    for says in ["order.before[0]", "ClusterBpfApplication wall", "run after those of the machine"] {
        assert!(message.contains(says), "{message}");
    }
    let after = in_pods(ordered("again", "count", "eth0", json!({ "after": ["filter"] })), Some("tenant"));
    try_create(&cluster, &after).await.unwrap();
}

#[tokio::test]
async fn an_order_that_closes_a_circle_is_refused_with_the_circle() {
    let Some((cluster, mut controller)) = reviewed().await else { return };
    cluster.apply_one(ordered("shop", "count", "eth0", json!({ "before": ["filter"] }))).await;
    let cycle = ordered("wall", "filter", "eth0", json!({ "before": ["count"] }));
    wait::until("the first one is known", async || try_create(&cluster, &cycle).await.is_err()).await;
    let message = refusal(try_create(&cluster, &cycle).await);
    for says in [
        "orders contradict each other",
        "filter (ClusterBpfApplication wall) before count (ClusterBpfApplication shop)",
        "count (ClusterBpfApplication shop) before filter (ClusterBpfApplication wall)",
    ] {
        assert!(message.contains(says), "{message}");
    }

    // An update to the same interface makes the orders conflict: it is rejected, and changes nothing.
    let taken = cluster.apply_one(ordered("wall", "filter", "eth1", json!({ "before": ["count"] }))).await;
    let api: Api<DynamicObject> = cluster.api_of(&cycle).await.unwrap();
    let meet = Patch::Merge(json!({ "spec": cycle["spec"] }));
    let message = refusal(api.patch("wall", &PatchParams::default(), &meet).await);
    assert!(message.contains("orders contradict each other"), "{message}");
    assert_eq!(api.get("wall").await.unwrap().data["spec"], taken.data["spec"]);

    let label = Patch::Merge(json!({ "metadata": { "labels": { "team": "net" } } }));
    api.patch("wall", &PatchParams::default(), &label).await.unwrap();

    // With failure policy `closed` nothing is accepted without reviews.
    controller.kill();
    let message = refusal(try_create(&cluster, &application("a", |_| {})).await);
    assert!(message.contains("failed calling webhook"), "{message}");
}

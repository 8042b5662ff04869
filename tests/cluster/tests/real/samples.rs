//! Manifests in the form of the published operator's users apply unchanged, and are read back as written.

use bpfman_application::application::{BpfApplication, ClusterBpfApplication};
use bpfman_application::config::Config;
use bpfman_cluster_tests::{Cluster, manifests};
use kube::api::{Api, PostParams};
use serde_json::Value;

#[tokio::test]
async fn of_cluster_applications() {
    let Some(cluster) = Cluster::shared().await else { return };
    let samples = manifests::parse(include_str!("samples/cluster.yaml"));
    taken(&cluster, samples, 11, |object| {
        serde_json::to_value(serde_json::from_value::<ClusterBpfApplication>(object)?.spec)
    })
    .await;
}

#[tokio::test]
async fn of_namespaced_applications() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.namespace("shop").await;
    let samples = manifests::parse(include_str!("samples/namespaced.yaml"));
    taken(&cluster, samples, 3, |object| {
        serde_json::to_value(serde_json::from_value::<BpfApplication>(object)?.spec)
    })
    .await;
}

#[tokio::test]
async fn of_the_configuration() {
    let Some(cluster) = Cluster::shared().await else { return };
    let samples = manifests::parse(include_str!("samples/config.yaml"));
    taken(&cluster, samples, 1, |object| {
        serde_json::to_value(serde_json::from_value::<Config>(object)?.spec)
    })
    .await;
}

/// Samples of the published operator use lists, while its schema declares base64: both are accepted.
#[tokio::test]
async fn with_global_data_as_a_list_of_bytes() {
    let Some(cluster) = Cluster::shared().await else { return };
    let mut sample = manifests::parse(include_str!("samples/cluster.yaml")).remove(0);
    sample["metadata"]["name"] = "with-a-list".into();
    let api = cluster.api_of(&sample).await.unwrap();
    let applications: Api<ClusterBpfApplication> = Api::all(cluster.client().await);
    let read = async || {
        let typed = applications.get("with-a-list").await.unwrap();
        typed.spec.common.global_data.unwrap()["GLOBAL_u32"].0.clone()
    };
    sample["spec"]["globalData"] = serde_json::json!({ "GLOBAL_u32": [13, 12, 11, 10] });
    let written = serde_json::from_value(sample.clone()).unwrap();
    api.create(&PostParams::default(), &written).await.unwrap();
    assert_eq!(read().await, [13, 12, 11, 10]);
    for (value, bytes) in [
        (serde_json::json!([13, 12, 11, 10]), [13, 12, 11, 10]),
        (serde_json::json!([1, 0, 0, 0]), [1, 0, 0, 0]),
        (serde_json::json!("DQwLCg=="), [13, 12, 11, 10]),
        (serde_json::json!([2, 0, 0, 0]), [2, 0, 0, 0]),
    ] {
        sample["spec"]["globalData"]["GLOBAL_u32"] = value.clone();
        let stored = cluster.apply_one(sample.clone()).await;
        assert_eq!(stored.data["spec"]["globalData"]["GLOBAL_u32"], value);
        assert_eq!(read().await, bytes);
    }
}

/// Checks that each sample is stored completely, and unchanged when it is applied again.
async fn taken(
    cluster: &Cluster,
    samples: Vec<Value>,
    how_many: usize,
    through_our_types: impl Fn(Value) -> serde_json::Result<Value>,
) {
    assert_eq!(samples.len(), how_many);
    for sample in samples {
        let name = &sample["metadata"]["name"];
        let stored = cluster.apply_one(sample.clone()).await;
        contains(&stored.data["spec"], &sample["spec"], &format!("{name}: spec"));
        let typed = through_our_types(serde_json::to_value(&stored).unwrap()).unwrap();
        contains(&typed, &without_empty(stored.data["spec"].clone()), &format!("{name} in our types: spec"));

        let again = cluster.apply_one(sample.clone()).await;
        assert_eq!(again.data, stored.data, "{name}");
        assert_eq!(again.metadata.generation, Some(1), "{name}");
    }
}

fn contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (field, value) in part {
                let found = whole.get(field).unwrap_or_else(|| panic!("{path}.{field} is gone"));
                contains(found, value, &format!("{path}.{field}"));
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            whole.iter().zip(part).for_each(|(whole, part)| contains(whole, part, path));
        }
        _ => assert_eq!(whole, part, "{path}"),
    }
}

fn without_empty(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|_, value| *value != Value::Array(Vec::new()));
            fields.values_mut().for_each(|value| *value = without_empty(value.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_empty(item.take())),
        _ => {}
    }
    value
}

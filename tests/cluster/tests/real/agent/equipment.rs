//! Node with an agent, and applications for it.

use std::path::Path;

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

pub fn agent(cluster: &Cluster, node: &str, socket: &Path) -> Operator {
    agent_with(cluster, node, socket, &[])
}

pub fn agent_with(cluster: &Cluster, node: &str, socket: &Path, more: &[&str]) -> Operator {
    agent_as(cluster, node, socket, &cluster.kubeconfig(), more)
}

pub fn agent_as(cluster: &Cluster, node: &str, socket: &Path, kubeconfig: &Path, more: &[&str]) -> Operator {
    let mut flags = vec![
        format!("--node-name={node}"),
        format!("--daemon-socket={}", socket.display()),
        "--health-probe-bind-address=127.0.0.1:0".to_owned(),
        "--metrics-bind-address=127.0.0.1:0".to_owned(),
    ];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    Operator::start(cluster, "agent", kubeconfig, &flags, &[("BPFMAN_LOG", "info,bpfman_operator=debug")])
}

pub async fn probes(agent: &Operator) -> String {
    listens(agent, "probes").await
}

pub async fn metrics(agent: &Operator) -> String {
    listens(agent, "metrics").await
}

async fn listens(agent: &Operator, to: &str) -> String {
    let field = format!(" {to}=");
    wait::some("it says where it listens", async || {
        let log = agent.log();
        let (_, rest) = log.split_once(&field)?;
        rest.split_whitespace().next().map(str::to_owned)
    })
    .await
}

pub async fn start(name: &str) -> Option<(Cluster, Node, Operator)> {
    let cluster = Cluster::own()?;
    cluster.apply_definitions().await;
    let node = Node::start(&cluster, name, &[("zone", "one")]).await;
    node.add_interface("up0");
    let agent = agent(&cluster, name, &node.daemon.socket());
    Some((cluster, node, agent))
}

pub fn application(name: &str, object: &Path, programs: Value) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication",
        "metadata": { "name": name },
        "spec": {
            "nodeSelector": { "matchLabels": { "zone": "one" } },
            "byteCode": { "path": object.display().to_string() },
            "programs": programs,
        },
    })
}

pub fn xdp(name: &str, interfaces: &[&str], priority: i32) -> Value {
    json!({ "name": name, "type": "XDP", "xdp": { "links": [
        { "interfaceSelector": { "interfaces": interfaces }, "priority": priority }] } })
}

pub async fn objects(cluster: &Cluster, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("bpfman.io", "v1alpha1", kind));
    Api::all_with(cluster.client().await, &resource)
}

pub async fn states(cluster: &Cluster, application: &str) -> Vec<DynamicObject> {
    let label = format!("bpfman.io/ownedByProgram={application}");
    let api = objects(cluster, "ClusterBpfApplicationState").await;
    api.list(&ListParams::default().labels(&label)).await.unwrap().items
}

pub fn condition(state: &DynamicObject) -> (String, String) {
    let text =
        |field: &str| state.data["status"]["conditions"][0][field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

pub async fn until_state(
    cluster: &Cluster,
    application: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> DynamicObject {
    let mut last = None;
    let api = objects(cluster, "ClusterBpfApplicationState").await;
    let params = ListParams::default().labels(&format!("bpfman.io/ownedByProgram={application}"));
    let found = tokio::time::timeout(wait::DEADLINE, async {
        loop {
            if let Ok(list) = api.list(&params).await {
                assert!(list.items.len() <= 1, "{:?}", list.items);
                last = list.items.into_iter().next();
                if let Some(state) = &last
                    && holds(&state.data["status"])
                {
                    return last.clone().unwrap();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("{what}: {:#?}", last.map(|state| state.data)))
}

pub async fn until_success(cluster: &Cluster, application: &DynamicObject) -> DynamicObject {
    let generation = application.metadata.generation;
    let name = application.name_any();
    until_state(cluster, &name, "it is loaded and attached", |status| {
        let condition = &status["conditions"][0];
        condition["reason"] == "Success" && condition["observedGeneration"].as_i64() == generation
    })
    .await
}

pub fn links(node: &Node) -> Vec<(String, String)> {
    let list = node.daemon.bpfman("list links -o json").json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = list["links"].as_array().unwrap();
    let mut links: Vec<_> =
        all.iter().map(|link| (text(&link["program_name"]), text(&link["attachment"]))).collect();
    links.sort();
    links
}

pub fn programs(node: &Node) -> Vec<String> {
    let list = node.daemon.bpfman("list programs -o json").json();
    let all = list["programs"].as_array().unwrap().iter();
    let mut names: Vec<_> = all.map(|program| program["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

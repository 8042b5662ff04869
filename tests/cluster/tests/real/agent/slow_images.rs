//! Registries that never answer: while one namespace's images wait, the agent serves applications of others.

use std::net::TcpListener;
use std::sync::mpsc;

use bpfman_cluster_tests::{Cluster, Node, wait};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Launch, compile};
use serde_json::{Value, json};

use super::equipment::{agent, application, objects, programs};
use super::waves::{REGISTRY, lead_to};

const SILENT: &str = "127.0.0.1:5001";

fn of_namespace(namespace: &str, name: &str, registry: &str) -> Value {
    let program = json!([{ "name": "xdp_member", "type": "XDP", "xdp": {} }]);
    let mut written = application(name, &compile::object("chain"), program);
    written["kind"] = json!("BpfApplication");
    written["metadata"]["namespace"] = json!(namespace);
    written["spec"]["byteCode"] = json!({ "image": { "url": format!("{registry}/team/{name}:1") } });
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_images_of_a_namespace_hold_no_other_up() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    let launch = Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() };
    let node = Node::start_with(&cluster, "slow", &[("zone", "one")], launch).await;
    node.network.ip(&["link", "set", "lo", "up"]);
    let registry = Registry::start();
    lead_to(&node, registry.address());
    let image = registry.image("team/good:1");
    let object = compile::object("chain").display().to_string();
    node.daemon.bpfman(&format!("image build -t {image} -b {object}")).success();
    node.daemon.bpfman(&format!("image push {image}")).success();
    let silent = node.network.inside(|| TcpListener::bind(SILENT).unwrap());
    let (waiting, came) = mpsc::channel();
    std::thread::spawn(move || silent.incoming().map_while(Result::ok).try_for_each(|one| waiting.send(one)));
    for namespace in ["evil", "shop"] {
        cluster.namespace(namespace).await;
    }
    for number in 0..8 {
        cluster.apply_one(of_namespace("evil", &format!("slow-{number}"), SILENT)).await;
    }
    let _agent = agent(&cluster, &node.name, &node.daemon.socket());
    let held = [came.recv_timeout(wait::DEADLINE).unwrap(), came.recv_timeout(wait::DEADLINE).unwrap()];
    cluster.apply_one(of_namespace("shop", "good", REGISTRY)).await;
    wait::until("the application of the other namespace is loaded", async || {
        programs(&node) == ["xdp_member"]
    })
    .await;
    let states = objects(&cluster, "BpfApplicationState").await;
    let all = states.list(&kube::api::ListParams::default()).await.unwrap().items;
    let ended = |state: &&kube::api::DynamicObject| {
        state.metadata.namespace.as_deref() == Some("evil")
            && state.data["status"]["conditions"][0]["reason"] == "Error"
    };
    assert_eq!(all.iter().filter(ended).count(), 0, "{all:#?}");
    drop(held);
}

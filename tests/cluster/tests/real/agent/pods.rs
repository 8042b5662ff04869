//! Pods: containers by their cgroups, network namespaces by their processes, restarts.

use bpfman_cluster_tests::wait;
use bpfman_tests::compile;
use bpfman_tests::container::Container;
use bpfman_tests::network::Namespace;
use bpfman_tests::target;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{application, links, start, until_state, until_success};

fn in_pods(target: &str) -> Value {
    let pods = json!({ "namespace": "shop", "pods": { "matchLabels": { "app": "web" } } });
    json!([
        { "name": "on_uprobe", "type": "UProbe", "uprobe": { "links": [
            { "function": "probed", "target": target, "containers": pods }] } },
    ])
}

fn container_pids(status: &Value) -> Vec<u64> {
    let links = status["programs"][0]["uprobe"]["links"].as_array().cloned().unwrap_or_default();
    links.iter().filter_map(|link| link["containerPid"].as_u64()).collect()
}

#[tokio::test]
async fn probes_follow_a_container_over_its_restart() {
    let Some((cluster, node, _agent)) = start("pods").await else { return };
    cluster.namespace("shop").await;
    let network = Namespace::new("pod");
    let first = Container::start(1, &network);
    cluster.pod("shop", "web-1", "pods", &[("app", "web")], &[("main", &first.id)]).await;
    let other = Container::start(2, &network);
    cluster.pod("shop", "db-1", "pods", &[("app", "db")], &[("main", &other.id)]).await;
    let target = target::binary().display().to_string();
    let made = cluster.apply_one(application("probes", &compile::object("probes"), in_pods(&target))).await;
    let state = until_success(&cluster, &made).await;
    assert_eq!(container_pids(&state.data["status"]), [u64::from(first.pid())], "the other pod is not meant");
    assert!(state.data["status"]["unmatched"].is_null(), "{:?}", state.data);

    // A restarted container has the same name; the kubelet writes its new id when it runs.
    drop(first);
    let second = Container::start(3, &network);
    cluster.pod("shop", "web-1", "pods", &[("app", "web")], &[("main", &second.id)]).await;
    until_state(&cluster, "probes", "the probe has moved", |status| {
        container_pids(status) == [u64::from(second.pid())] && status["conditions"][0]["reason"] == "Success"
    })
    .await;
    assert_eq!(links(&node).len(), 1);

    // When a pod terminates, its probe ends, which is no failure; the state reports that no pod is selected.
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster.client().await, "shop");
    let ended = Patch::Merge(json!({ "status": { "phase": "Succeeded" } }));
    pods.patch_status("web-1", &PatchParams::default(), &ended).await.unwrap();
    let state = until_state(&cluster, "probes", "no probe is left", |status| {
        container_pids(status).is_empty() && status["conditions"][0]["reason"] == "Success"
    })
    .await;
    let field = "on_uprobe: uprobe.links[0].containers";
    assert_eq!(state.data["status"]["unmatched"], json!([field]));
    let message = state.data["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.ends_with(&format!("no pod or container of this node is selected by {field}")),
        "{message}"
    );
    assert_eq!(links(&node).len(), 0);
}

#[tokio::test]
async fn packets_of_a_pod_are_met_in_its_own_network() {
    let Some((cluster, node, _agent)) = start("netns").await else { return };
    cluster.namespace("shop").await;
    let network = Namespace::new("pod");
    network.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
    let container = Container::start(4, &network);
    let program = json!([{ "name": "xdp_member", "type": "XDP", "xdp": { "links": [{
        "interfaceSelector": { "interfaces": ["eth0"] },
        "networkNamespaces": { "pods": { "matchLabels": { "app": "web" } } } }] } }]);
    let mut written = application("inside", &compile::object("chain"), program);
    written["kind"] = json!("BpfApplication");
    written["metadata"]["namespace"] = json!("shop");
    cluster.apply_one(written).await;
    cluster.pod("shop", "web-1", "netns", &[("app", "web")], &[("main", &container.id)]).await;
    cluster.namespace("other").await;
    cluster.pod("other", "web-1", "netns", &[("app", "web")], &[("main", &container.id)]).await;
    wait::until("it is attached", async || links(&node).len() == 1).await;
    let shown = network.ip(&["link", "show", "eth0"]);
    assert!(shown.contains("xdp"), "{shown}");

    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster.client().await, "shop");
    pods.delete("web-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    wait::until("it is detached", async || links(&node).is_empty()).await;
}

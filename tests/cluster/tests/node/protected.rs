//! Pods wait for their node's programs, and are filtered from their first packet on, also while a daemon is replaced.

use bpfman_application::orders::NOT_READY_TAINT;
use bpfman_cluster_tests::wait;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::flood::Flood;
use crate::images::ours;
use crate::node::RealNode;
use crate::pods::{application, in_pods, reader, receiver};

const DROP: &str = "AQAAAA==";
const PASS: &str = "AgAAAA==";

#[tokio::test]
async fn pods_wait_for_node_programs_and_have_them_from_first_packet() {
    let Some(node) = RealNode::start() else { return };
    let cluster = &node.cluster;
    cluster.apply_definitions().await;
    cluster.apply_one(config()).await;
    let mut guard =
        application("guard", "/nonexistent/guard.o", &json!([in_pods("xdp_member", "XDP", "web")]));
    guard["spec"]["globalData"] = json!({ "verdict": DROP });
    guard["spec"]["programs"][0]["xdp"]["links"][0]["onUnavailable"] = json!("closed");
    cluster.apply_one(guard).await;
    node.deploy().await;

    // The bytecode does not exist yet, so the node stays tainted and ordinary pods are not scheduled.
    wait::until("the node is tainted", async || node.is_tainted()).await;
    cluster.apply_one(receiver("web")).await;
    node.deployed().await;
    wait::until("the agent says what is missing", async || node.state().to_string().contains("guard.o"))
        .await;
    wait::until("the scheduler says why the pod waits", async || {
        let said = node.pod("web")["status"]["conditions"].to_string();
        said.contains(NOT_READY_TAINT) || said.contains("had untolerated taint(s)")
    })
    .await;
    wait::until("the plugin is in the node's configuration", async || node.networks().contains("bpfman-cni"))
        .await;
    assert!(node.is_tainted() && node.pod("web")["spec"]["nodeName"].is_null());

    let flood = Flood::start(cluster);
    node.edit("guard", json!({ "byteCode": { "path": node.bytecode("chain") } })).await;
    wait::until("the node lets pods in", async || !node.is_tainted()).await;
    node.wait(&["--for=condition=Ready", "pod/web"]);
    let web = node.pod("web");
    let attached = node.xdp_of(&web);
    assert!(!attached.is_null());
    flood.more(1000).await;
    assert_eq!(node.received("web").await, 0, "packets before attachment");

    // A pod without the program receives packets, which proves that the first pod would have received them too.
    cluster.apply_one(receiver("plain")).await;
    node.wait(&["--for=condition=Ready", "pod/plain"]);
    wait::until("the other pod receives", async || node.received("plain").await > 0).await;
    assert!(node.xdp_of(&node.pod("plain")).is_null());
    node.install_profile();
    cluster.apply_one(reader("guard")).await;
    node.wait(&["--for=condition=Ready", "pod/reader"]);
    wait::until("the program has met packets", async || node.reads() > 0).await;

    // Replace daemon and agent: the same program stays attached, and no packet passes meanwhile.
    replaced(&node).await;
    assert_eq!(node.xdp_of(&web), attached);
    let met = node.reads();
    wait::until("the program goes on", async || node.reads() > met).await;
    assert_eq!(node.received("web").await, 0, "packets while the daemon was replaced");
    assert!(!node.is_tainted(), "a daemon that restarts makes no node new");
    node.edit("guard", json!({ "globalData": { "verdict": PASS } })).await;
    wait::until("packets pass", async || node.received("web").await > 0).await;

    node.configure(json!({ "cni": { "image": ours("cni"), "remove": true } })).await;
    node.without_a_pod("the plugin is gone", async || !node.networks().contains("bpfman-cni")).await;
    node.delete(&["pod", "reader", "plain", "web"]).success();
    cluster.apply_one(receiver("later")).await;
    node.wait(&["--for=condition=Ready", "pod/later"]);
}

fn config() -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "Config", "metadata": { "name": "bpfman-config" },
        "spec": {
            "namespace": "bpfman", "configuration": "[signing]\nallow_unsigned = true\n", "nodeTaint": true,
            "agent": { "image": ours("operator") }, "daemon": { "image": ours("daemon") },
            "cni": { "image": ours("cni") },
        }
    })
}

async fn replaced(node: &RealNode) {
    for (field, image, app) in [("daemon", "daemon", "bpfman-daemon"), ("agent", "operator", "bpfman-agent")]
    {
        let next = format!("bpfman.test/bpfman-{image}:next");
        node.tag(image, &next);
        node.configure(json!({ field: { "image": next } })).await;
        node.without_a_pod(&format!("{app} is the next one"), async || {
            let pods = node.pods_of(app);
            let [pod] = &*pods else { return false };
            let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = ready.filter(|condition| condition["type"] == "Ready");
            pod["spec"]["containers"][0]["image"] == *next
                && ready.any(|condition| condition["status"] == "True")
        })
        .await;
    }
}

impl RealNode {
    fn is_tainted(&self) -> bool {
        let nodes =
            self.cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints}"]).success();
        nodes.contains(NOT_READY_TAINT)
    }

    fn state(&self) -> Value {
        self.cluster.kubectl(&["get", "clusterbpfapplicationstates", "-o", "json"]).json()
    }

    fn networks(&self) -> String {
        self.on_node(&["sh", "-c", "cat /etc/cni/net.d/*.conflist"]).stdout
    }

    async fn edit(&self, name: &str, spec: Value) {
        let object = json!({ "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication" });
        self.change(&object, name, spec).await;
    }

    async fn configure(&self, spec: Value) {
        self.change(&json!({ "apiVersion": "bpfman.io/v1alpha1", "kind": "Config" }), "bpfman-config", spec)
            .await;
    }

    async fn change(&self, object: &Value, name: &str, spec: Value) {
        let api = self.cluster.api_of(object).await.unwrap();
        let patch = Patch::Merge(json!({ "spec": spec }));
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn received(&self, pod: &str) -> u64 {
        wait::some("it says", async || self.last_number(pod, "received ")).await
    }

    fn reads(&self) -> u64 {
        self.last_number("reader", "reads ").unwrap_or(0)
    }

    fn last_number(&self, pod: &str, after: &str) -> Option<u64> {
        let said = self.cluster.kubectl(&["logs", pod, "--tail=1"]).stdout;
        said.trim().rsplit_once(after)?.1.parse().ok()
    }
}

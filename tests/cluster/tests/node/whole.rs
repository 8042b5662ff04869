//! From a manifest to a packet counted in a pod, and to the count read by another.

use std::net::UdpSocket;

use bpfman_cluster_tests::wait;
use serde_json::json;

use crate::node::{RealNode, pod};

#[tokio::test]
async fn an_application_is_attached_in_a_pod_and_its_map_is_read_by_another() {
    let Some(node) = RealNode::start() else { return };
    node.deploy().await;
    let cluster = &node.cluster;
    node.wait(&["-n", "bpfman", "--for=condition=Available", "deployment/bpfman-operator"]);
    for app in ["bpfman-daemon", "bpfman-agent"] {
        wait::until(&format!("{app} is deployed"), async || {
            cluster.kubectl(&["-n", "bpfman", "get", "daemonset", app]).code == 0
        })
        .await;
        let selector = format!("app.kubernetes.io/name={app}");
        wait::until(&format!("{app} has its pod"), async || {
            !cluster
                .kubectl(&["-n", "bpfman", "get", "pods", "-l", &selector, "-o", "name"])
                .stdout
                .is_empty()
        })
        .await;
        node.wait(&["-n", "bpfman", "--for=condition=Ready", "pods", "-l", &selector]);
    }

    // The agent has nothing: no capability, no host, no token of others.
    let agents = cluster.kubectl(&[
        "-n",
        "bpfman",
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=bpfman-agent",
        "-o",
        "json",
    ]);
    let agent = &agents.json()["items"][0]["spec"];
    assert!(agent["hostNetwork"].is_null() && agent["hostPID"].is_null(), "{agent}");
    assert_eq!(agent["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));

    cluster.apply_one(pod("web", "bpfman.test/busybox:1", &["/bin/sleep", "3600"])).await;
    node.wait(&["--for=condition=Ready", "pod/web"]);
    let object = node.bytecode("chain");
    cluster
        .apply_one(json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "metadata": { "name": "counter" },
            "spec": {
                "nodeSelector": {},
                "byteCode": { "path": object },
                "programs": [{ "name": "xdp_member", "type": "XDP", "xdp": { "links": [{
                    "interfaceSelector": { "interfaces": ["eth0"] },
                    "networkNamespaces": { "namespace": "default", "pods": { "matchLabels": { "app": "web" } } },
                }]}}],
            },
        }))
        .await;
    node.wait(&["--for=condition=Success", "clusterbpfapplication/counter"]);

    // The kernel says so too, in the pod's own network.
    let process = node.process("web").await;
    let links =
        bpfman_tests::command::run(&["nsenter", "--net", "--target", &process, "ip", "link", "show", "eth0"]);
    assert!(links.contains("xdp"), "{links}");

    let mut reader = pod("reader", "bpfman.test/reader:1", &["/bin/read_map", "/maps/hits"]);
    // Kubelets hand a driver the pod's fsGroup since 1.22; without one a map's pin is of root's group.
    reader["spec"]["securityContext"]["runAsGroup"] = json!(0);
    reader["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "maps", "mountPath": "/maps" }]);
    reader["spec"]["volumes"] = json!([{ "name": "maps", "csi": {
        "driver": "csi.bpfman.io", "readOnly": true,
        "volumeAttributes": { "csi.bpfman.io/program": "counter", "csi.bpfman.io/maps": "hits" },
    }}]);
    cluster.apply_one(reader).await;
    node.wait(&["--for=condition=Ready", "pod/reader"]);
    let said = || cluster.kubectl(&["logs", "reader", "--tail=1"]).stdout;
    wait::until("the reader reads", async || said().contains("user 4711 reads 0")).await;

    let address = node.pod("web")["status"]["podIP"].as_str().unwrap().to_owned();
    cluster.inside(move || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..5 {
            socket.send_to(b"bpfman", (&*address, 4242)).unwrap();
        }
    });
    wait::until("the reader counts", async || said().contains("user 4711 reads 5")).await;

    cluster.kubectl(&["delete", "pod", "reader", "--wait=false"]).success();
    cluster.kubectl(&["delete", "clusterbpfapplication", "counter", "--timeout=60s"]).success();
    let links =
        bpfman_tests::command::run(&["nsenter", "--net", "--target", &process, "ip", "link", "show", "eth0"]);
    assert!(!links.contains("xdp"), "{links}");
}

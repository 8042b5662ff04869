//! The whole path: from a manifest to a packet counted in one pod, and to the counter read by another pod.

use std::net::UdpSocket;

use bpfman_cluster_tests::wait;
use serde_json::json;

use crate::images::ours;
use crate::names;
use crate::node::RealNode;
use crate::pods::{application, in_pods, pod, reader};

#[tokio::test]
async fn application_attaches_in_a_pod_and_another_pod_reads_its_map() {
    let Some(node) = RealNode::start() else { return };
    let cluster = &node.cluster;
    names::announce(&node);
    node.deploy().await;
    node.deployed().await;

    let agent = &node.pods_of("bpfman-agent")[0]["spec"];
    assert!(agent["hostNetwork"].is_null() && agent["hostPID"].is_null(), "{agent}");
    assert_eq!(agent["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));

    cluster.apply_one(pod("web", "bpfman.test/busybox:1", &["/bin/sleep", "3600"])).await;
    node.wait(&["--for=condition=Ready", "pod/web"]);
    let object = node.bytecode("chain");
    let programs = json!([in_pods("xdp_member", "XDP", "web")]);
    cluster.apply_one(application("counter", &object, &programs)).await;
    node.wait(&["--for=condition=Success", "clusterbpfapplication/counter"]);
    node.wait(&["--for=condition=Ready", "clusterbpfapplication/counter"]);

    // No definition rejects this spec: the refusal comes from the webhook, also on a newer server.
    let mut nowhere = application("nowhere", "", &programs);
    nowhere["spec"]["byteCode"] = json!({ "image": { "url": "xdp_pass:v1" } });
    let file = cluster.path("nowhere.json");
    std::fs::write(&file, nowhere.to_string()).unwrap();
    let refused = cluster.kubectl(&["apply", "-f", &file.display().to_string()]);
    for word in ["applications.bpfman.io", "which registry"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }

    let web = node.pod("web");
    assert!(!node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));

    node.install_profile();
    cluster.apply_one(reader("counter")).await;
    node.wait(&["--for=condition=Ready", "pod/reader"]);
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", node.process(&node.pod("reader")))).unwrap();
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
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

    names::are_looked_up(&node).await;

    node.delete(&["pod", "reader"]).success();
    // The Pod object disappears at once; the kubelet unmounts later.
    node.without_a_pod("the volume is taken down", async || mounts(&node) == "1").await;
    node.delete_application("counter");
    assert!(node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));

    // The network plugin is installed first, because its remains could prevent pods from starting.
    let plugin = json!({ "spec": { "cni": { "image": ours("cni") } } }).to_string();
    cluster
        .kubectl(&["patch", "configs.bpfman.io", "bpfman-config", "--type=merge", "-p", &plugin])
        .success();
    node.without_a_pod("the plugin is in the node's configuration", async || {
        node.on_node(&["sh", "-c", "cat /etc/cni/net.d/*"]).stdout.contains("bpfman-cni")
    })
    .await;
    node.take_away();
    let left = cluster.kubectl(&[
        "get",
        "crd,clusterroles,clusterrolebindings,csidrivers,validatingwebhookconfigurations,namespaces",
        "-o",
        "name",
    ]);
    node.without_a_pod("the namespace is gone", async || {
        cluster.kubectl(&["get", "namespace", "bpfman"]).code != 0
    })
    .await;
    let named = |text: &str| text.lines().any(|line| line.contains("bpfman") && line != "namespace/bpfman");
    assert!(!named(&left.success()), "{}", cluster.kubectl(&["get", "crd,clusterroles,namespaces"]).stdout);
    let taints = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints}"]).success();
    assert!(!taints.contains("bpfman"), "{taints}");

    assert!(mounts(&node).is_empty() || mounts(&node) == "0", "{}", mounts(&node));
    for place in [
        "/run/bpfman",
        "/run/bpfman-sock",
        "/run/bpfman-agent",
        "/var/lib/bpfman",
        "/var/lib/bpfman-agent",
        "/var/cache/bpfman",
        "/opt/cni/bin/bpfman-cni",
    ] {
        assert_ne!(node.on_node(&["test", "-e", place]).code, 0, "{place} is left");
    }
    assert!(!node.on_node(&["sh", "-c", "cat /etc/cni/net.d/*"]).success().contains("bpfman"));
    let notes =
        cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.annotations}"]).success();
    assert!(!notes.contains("bpfman"), "{notes}");
    cluster.apply_one(pod("after", "bpfman.test/busybox:1", &["/bin/sleep", "3600"])).await;
    node.wait(&["--for=condition=Ready", "pod/after"]);
}

fn mounts(node: &RealNode) -> String {
    node.on_node(&["grep", "-c", " /run/bpfman/", "/proc/self/mountinfo"]).stdout.trim().to_owned()
}

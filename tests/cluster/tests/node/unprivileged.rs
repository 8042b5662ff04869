//! A daemon without volumes is not privileged, and works otherwise as usual.

use std::fs;

use bpfman_cluster_tests::wait;
use serde_json::{Value, json};

use crate::node::RealNode;
use crate::pods::{application, in_pods, pod};

fn daemon(node: &RealNode) -> Option<Value> {
    match &node.pods_of("bpfman-daemon")[..] {
        [pod] if pod["metadata"]["deletionTimestamp"].is_null() => Some(pod.clone()),
        _ => None,
    }
}

fn container(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]
}

fn status(process: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name}: {text}")).trim().to_owned()
}

#[tokio::test]
async fn daemon_without_volumes_is_unprivileged_and_attaches_in_pods() {
    let Some(node) = RealNode::start() else { return };
    let cluster = &node.cluster;
    node.deploy().await;
    node.deployed().await;
    let privileged = daemon(&node).unwrap();
    assert_eq!(container(&privileged)["securityContext"]["privileged"], true);
    // Replacing the daemon keeps the mounts.
    let kept = status(&node.process(&privileged), "CapEff");

    let without = json!({ "spec": { "daemon": { "csi": false } } }).to_string();
    cluster
        .kubectl(&["patch", "configs.bpfman.io", "bpfman-config", "--type=merge", "-p", &without])
        .success();
    node.without_a_pod("the daemon's pod is another one", async || {
        daemon(&node).is_some_and(|pod| container(&pod)["securityContext"]["privileged"].is_null())
    })
    .await;
    node.deployed().await;
    let process = node.process(&daemon(&node).unwrap());
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(status(&process, set), kept, "{set}");
    }
    assert_eq!([status(&process, "NoNewPrivs"), status(&process, "Seccomp")], ["1", "2"]);

    cluster.apply_one(pod("web", "bpfman.test/busybox:1", &["/bin/sleep", "3600"])).await;
    node.wait(&["--for=condition=Ready", "pod/web"]);
    let object = node.bytecode("chain");
    let programs = json!([in_pods("xdp_member", "XDP", "web")]);
    cluster.apply_one(application("counter", &object, &programs)).await;
    node.wait(&["--for=condition=Success", "clusterbpfapplication/counter"]);
    let web = node.pod("web");
    assert!(!node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));

    // The pins belong to the node: they outlive the daemon, and the next one finds them.
    let pins = || node.on_node(&["find", "/run/bpfman/fs", "-name", "prog_*"]).success();
    let before = pins();
    assert_ne!(before, "");
    let name = daemon(&node).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    node.delete(&["-n", "bpfman", "pod", &name]).success();
    wait::until("another daemon is there", async || {
        daemon(&node).is_some_and(|pod| pod["metadata"]["name"] != *name)
    })
    .await;
    node.deployed().await;
    assert_eq!(pins(), before);
    assert!(!node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));
    node.delete_application("counter");
    assert!(node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));
}

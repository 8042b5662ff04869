//! `kubectl bpfman profile` and `flows` on two nodes, which share the kernel of this machine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use bpfman_cluster_tests::cluster::in_network;
use bpfman_cluster_tests::wait;
use bpfman_profile::Profile;
use bpfman_tests::command::run;
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::{Outcome, binaries};
use serde_json::{Value, json};

use crate::gallery::Gallery;
use crate::images::BUSY;
use crate::node::{RealNode, text};
use crate::pods::pod;

const FIRST: &str = "198.51.100.1";
const SECOND: &str = "198.51.100.2";
const OPEN: u16 = 7001;
const CLOSED: u16 = 7002;
const BYTES: usize = 100_000;

fn plugin(node: &RealNode, kubeconfig: &Path, words: &str) -> Command {
    let mut command = node.cluster.command(binaries::find("kubectl-bpfman"));
    command.args(words.split_whitespace()).env("KUBECONFIG", kubeconfig).env("HOME", node.cluster.path(""));
    command
}

fn asked(node: &RealNode, words: &str) -> Outcome {
    Outcome::of(&mut plugin(node, &node.cluster.kubeconfig(), words))
}

fn connect(node: &RealNode) {
    let listener = in_network(&node.second_netns(), || TcpListener::bind((SECOND, OPEN)).unwrap());
    let server =
        std::thread::spawn(move || listener.accept().unwrap().0.read_exact(&mut [0; BYTES]).unwrap());
    let mut client = node.cluster.inside(|| TcpStream::connect((SECOND, OPEN)).unwrap());
    client.write_all(&[7; BYTES]).unwrap();
    server.join().unwrap();
}

fn connect_in_vain(node: &RealNode) {
    let refused = node.cluster.inside(|| TcpStream::connect((SECOND, CLOSED)).unwrap_err());
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

fn flows_to(node: &RealNode, port: u16, verdict: &str) -> Vec<Value> {
    let lines = asked(node, "flows --json").success();
    let flows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let to = |flow: &Value| flow["destination"] == SECOND && flow["destination_port"] == port;
    flows.filter(|flow| to(flow) && flow["verdict"] == verdict).collect()
}

async fn flows_are_of_their_nodes(node: &RealNode) {
    connect(node);
    let seen = wait::some("both nodes have seen all of it", async || {
        let flows = flows_to(node, OPEN, "seen");
        let whole = flows.iter().filter(|flow| flow["bytes"].as_u64() >= Some(BYTES as u64)).count();
        (whole == 2).then_some(flows)
    })
    .await;
    for (node, direction) in [("node-a", "egress"), ("node-b", "ingress")] {
        let flow = seen.iter().find(|flow| flow["node"] == node);
        let flow = flow.unwrap_or_else(|| panic!("{node}: {seen:?}"));
        assert_eq!(flow["direction"], direction, "{flow}");
        assert_eq!([&flow["source"], &flow["protocol"]], [&json!(FIRST), &json!("tcp")], "{flow}");
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    // The kernel is shared, so that both nodes report its drops. Drops of other tests may displace this one.
    wait::until("both nodes tell of a drop", async || {
        connect_in_vain(node);
        let dropped = flows_to(node, CLOSED, "dropped");
        let told = |name: &str| {
            dropped.iter().any(|flow| flow["node"] == name && flow["drop_reason"] == "NO_SOCKET")
        };
        told("node-a") && told("node-b")
    })
    .await;
    let table = asked(node, "flows").success();
    assert!(table.starts_with("NODE "), "{table}");
    let to = format!(" {SECOND}:{OPEN} ");
    table.lines().filter(|line| line.contains(&to)).for_each(|line| eprintln!("{line}"));
    for (name, verdict) in [("node-a ", "seen egress"), ("node-b ", "seen ingress")] {
        let mut lines = table.lines().map(str::trim_end);
        let found = lines.any(|line| line.starts_with(name) && line.contains(&to) && line.ends_with(verdict));
        assert!(found, "{name}: {table}");
    }
}

fn profiles_have_their_nodes_as_roots(node: &RealNode) {
    let taken = asked(node, "profile --seconds 3");
    eprintln!("{}", taken.stderr);
    let folded = taken.success();
    // Both profilers sample all CPUs of this machine. On two machines, only the pod's node would see it.
    for name in ["node-a", "node-b"] {
        let own: Vec<_> = folded.lines().filter(|line| line.starts_with(&format!("{name};busy;"))).collect();
        own.iter().for_each(|line| eprintln!("{line}"));
        for frames in [";spin_in_user_space ", ";vfs_read_[k];"] {
            assert!(own.iter().any(|line| line.contains(frames)), "{name}, {frames}: {folded}");
        }
    }
    let rooted = |line: &str| line.starts_with("node-a;") || line.starts_with("node-b;");
    assert!(folded.lines().all(rooted), "{folded}");

    let file = node.cluster.path("profile");
    let into = |words: &str| {
        let line = format!("profile --seconds 1 --output {words} --file {}", text(&file));
        assert_eq!(asked(node, &line).success(), "");
    };
    into("pprof");
    let profile = Profile::from_pprof(&fs::read(&file).unwrap()).unwrap();
    assert!(profile.total().samples > 0, "{profile:?}");
    let again = profile.to_folded();
    assert!(again.contains("node-a;busy;") && again.contains("node-b;busy;"), "{again}");
    into("svg");
    let svg = fs::read_to_string(&file).unwrap();
    for frame in ["node-a", "node-b", "spin_in_user_space"] {
        assert!(svg.contains(&format!("<title>{frame}: ")), "{frame}: {svg}");
    }
}

/// Checks both commands with the permissions of `bpfman-top-role` in the namespace of the pods.
async fn assert_missing_permission_is_reported(node: &RealNode) {
    let cluster = &node.cluster;
    let kubeconfig = cluster.kubeconfig_with(&cluster.token("default", "ann").await);
    let ask = |words: &str| Outcome::of(&mut plugin(node, &kubeconfig, words));
    ask("flows --namespace flows").fails(4, &["you may not list"]);
    cluster
        .apply_one(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "ann", "namespace": "flows" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bpfman-top-role" },
            "subjects": [{ "kind": "ServiceAccount", "name": "ann", "namespace": "default" }],
        }))
        .await;
    wait::until("she may", async || ask("flows --namespace flows").code == 0).await;
    ask("flows").fails(4, &["you may not list"]);
    asked(node, "profile --namespace flows")
        .fails(5, &["no pod with the label", "examples/profiler/cluster.yaml"]);
}

fn assert_unreachable_node_is_named(node: &RealNode) {
    let netns = node.cluster.netns();
    run(&["ip", "-n", netns.file_name().unwrap().to_str().unwrap(), "link", "set", "to-b", "down"]);
    // Both commands wait for the full timeout, so run them concurrently.
    let [flows, profile] = ["flows --json", "profile --seconds 1"].map(|words| {
        let mut command = plugin(node, &node.cluster.kubeconfig(), words);
        std::thread::spawn(move || Outcome::of(&mut command))
    });
    for (asked, other, cut_off) in
        [(flows, "\"node\":\"node-a\"", "\"node\":\"node-b\""), (profile, "node-a;", "node-b;")]
    {
        let outcome = asked.join().unwrap();
        eprintln!("{}", outcome.stderr);
        outcome.fails(1, &["node node-b did not answer: "]);
        assert!(outcome.stdout.contains(other) && !outcome.stdout.contains(cut_off), "{}", outcome.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_and_flows_of_two_nodes_merge_and_name_a_lost_node() {
    if lacks_tcx("profiles_and_flows_of_two_nodes_merge_and_name_a_lost_node") {
        return;
    }
    let Some(node) = RealNode::start_two() else { return };
    let gallery = Gallery::open(&node);
    node.deploy_with(&gallery.policy()).await;
    node.deployed().await;
    for entry in ["flows", "profiler"] {
        gallery.deploy(&node, entry).await;
    }
    node.busy_image();
    let mut busy = pod("busy", BUSY, &["/bin/busy"]);
    busy["spec"]["nodeName"] = json!("node-b");
    node.cluster.apply_one(busy).await;
    node.wait(&["--for=condition=Ready", "pod/busy"]);

    flows_are_of_their_nodes(&node).await;
    profiles_have_their_nodes_as_roots(&node);
    assert_missing_permission_is_reported(&node).await;
    assert_unreachable_node_is_named(&node);
}

//! Images that are unavailable or not allowed, from the manifest to the kernel.

use bpfman_cluster_tests::{Node, wait};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Launch, Outcome, binaries, compile};
use serde_json::{Value, json};

use super::equipment::{application, condition, links, programs, start, until_state, until_success, xdp};
use super::waves::{REGISTRY, lead_to};

/// Runs the client in the node's network, where the registry has the same name as for the daemon.
fn bpfman(node: &Node, line: &str) -> String {
    let mut command = node.network.command(&binaries::find("bpfman").display().to_string());
    command.env("HOME", node.daemon.path("")).args(line.split_whitespace());
    Outcome::of(&mut command).success()
}

fn publish(node: &Node, name: &str, program: &str) {
    let object = compile::object(program);
    bpfman(node, &format!("image build -t {name} -b {}", object.display()));
    bpfman(node, &format!("image push {name}"));
}

fn of_image(name: &str, url: &str, program: &str) -> Value {
    let mut written = application(name, &compile::object("chain"), json!([xdp(program, &["up0"], 60)]));
    written["spec"]["byteCode"] = json!({ "image": { "url": url } });
    written
}

fn failed(status: &Value) -> bool {
    status["conditions"][0]["reason"] == "Error"
}

#[tokio::test]
async fn unknown_or_unsigned_image_is_named_and_runs_once_allowed() {
    let Some((cluster, mut node, _agent)) = start("images").await else { return };
    let registry = Registry::start();
    lead_to(&node, registry.address());
    let key = node.daemon.path("trusted").display().to_string();
    bpfman(&node, &format!("image generate-key-pair {key}"));
    let wrapper = vec!["nsenter".to_owned(), format!("--net={}", node.network.path().display())];
    let policy = format!("[[images]]\npattern = \"{REGISTRY}/*\"\nkeys = [\"{key}.pub\"]\n");
    node.daemon.terminate();
    node.daemon.again(&Launch { policy, wrapper, ..Launch::default() });
    let other = |priority| {
        application("other", &compile::object("chain"), json!([xdp("xdp_member", &["up0"], priority)]))
    };
    let made = cluster.apply_one(other(50)).await;
    until_success(&cluster, &made).await;

    let (unsigned, later) = (format!("{REGISTRY}/team/unsigned:1"), format!("{REGISTRY}/team/later"));
    publish(&node, &unsigned, "chain");
    let written = cluster.apply_one(of_image("unsigned", &unsigned, "xdp_another")).await;
    let state = until_state(&cluster, "unsigned", "it is refused", failed).await;
    let message = condition(&state).1;
    assert!(message.contains("signature") && message.contains(&unsigned), "{message}");
    assert_eq!(state.data["status"]["appLoadStatus"], "LoadError");
    assert_eq!(programs(&node), ["xdp_member"]);

    bpfman(&node, &format!("image sign {unsigned} --key {key}.key"));
    until_success(&cluster, &written).await;
    assert_eq!(links(&node).len(), 2);

    // Sign a digest before its image is in the repository `later`, where the same content will have it.
    let early = format!("{REGISTRY}/team/early:1");
    publish(&node, &early, "broken");
    let signed = bpfman(&node, &format!("image sign {early} --key {key}.key -o json"));
    let signed: Value = serde_json::from_str(&signed).unwrap();
    let digest = signed["digest"].as_str().unwrap().to_owned();
    let unknown = format!("{later}@{digest}");
    let written = cluster.apply_one(of_image("unknown", &unknown, "sound")).await;
    let state = until_state(&cluster, "unknown", "it is not there", failed).await;
    let message = condition(&state).1;
    assert!(message.contains(&digest) && message.contains("team/later"), "{message}");
    assert_eq!(programs(&node), ["xdp_another", "xdp_member"]);

    let edited = cluster.apply_one(other(40)).await;
    until_success(&cluster, &edited).await;

    publish(&node, &format!("{later}:1"), "broken");
    bpfman(&node, &format!("image sign {later}:1 --key {key}.key"));
    until_success(&cluster, &written).await;
    wait::until("all three are attached", async || links(&node).len() == 3).await;
}

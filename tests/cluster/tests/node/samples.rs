//! Samples of `tests/real/samples`, which have the form of upstream's, on a real node with their images, pods and
//! interfaces. Samples that this kernel supports are attached; each other sample reports the reason.

use bpfman_cluster_tests::cluster::in_network;
use bpfman_cluster_tests::{manifests, wait};
use bpfman_tests::command::run;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Outcome, binaries, compile};
use serde_json::{Value, json};

use crate::node::{RealNode, text};
use crate::pods::pod;

const PUBLISHED: &str = "quay.io/acme/";
const REGISTRY: &str = "localhost:5000/acme/";
const APP: &str = "bpfman.test/sample-app:1";

const REFUSED: [(&str, &str); 3] = [
    // The agent is an ordinary user and does not own this file.
    ("from-a-file", "file /var/lib/ebpf/counter.o"),
    ("private-image", "pull secret bpfman/registry"),
    ("tcx-mirror", "interface \"eth1\" does not exist"),
];
/// A sample that a packaged daemon refuses: it looks for libraries in its image, which has only its program.
const REFUSED_IF_PACKAGED: (&str, &str) = ("uprobe-malloc", "no library of that name");
/// Samples with program types that a kernel may lack; the error then names the type.
const OF_SOME_KERNELS: [&str; 2] = ["fentry-unlink", "kprobe-wake"];

fn samples() -> Vec<Value> {
    ["cluster", "namespaced"]
        .into_iter()
        .flat_map(|file| {
            let path = format!("{}/tests/real/samples/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
            manifests::parse(&std::fs::read_to_string(path).unwrap().replace(PUBLISHED, REGISTRY))
        })
        .collect()
}

fn publish(node: &RealNode, samples: &[Value]) {
    let bpfman = |words: &[&str]| {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net={}", node.cluster.netns().display())).arg(binaries::find("bpfman"));
        Outcome::of(command.env("HOME", node.cluster.path("")).args(words)).success()
    };
    let object = text(&compile::object("samples"));
    let urls = samples.iter().filter_map(|sample| sample["spec"]["byteCode"]["image"]["url"].as_str());
    for url in urls.filter(|url| !url.contains('@')) {
        bpfman(&["image", "build", "-t", url, "-b", &object]);
        bpfman(&["image", "push", url]);
    }
}

fn interfaces(node: &RealNode) {
    let netns = format!("--net={}", node.cluster.netns().display());
    for line in [
        "link add eth0 type veth peer name far0",
        "link set far0 up",
        "link set eth0 up",
        "address add 203.0.113.1/24 dev eth0",
        "route replace default via 203.0.113.254 dev eth0",
    ] {
        let words: Vec<&str> = ["nsenter", &netns, "ip"].into_iter().chain(line.split(' ')).collect();
        run(&words);
    }
}

async fn pods(node: &RealNode) {
    let app = compile::executable("sample_app");
    let mut files = vec![format!("{}:/usr/bin/app", app.display())];
    for library in run(&["ldd", &text(&app)]).split_whitespace().filter(|word| word.starts_with('/')) {
        files.push(format!("{library}:{library}"));
    }
    let words: Vec<&str> =
        [APP, "/usr/bin/app"].into_iter().chain(files.iter().map(String::as_str)).collect();
    bpfman_cluster_tests::scripts::run("image", &node.cluster.path(""), &words);
    node.cluster.namespace("shop").await;
    for name in ["web", "api"] {
        let mut made = pod(name, APP, &["/usr/bin/app"]);
        made["metadata"]["namespace"] = json!("shop");
        node.cluster.apply_one(made).await;
        node.wait(&["-n", "shop", "--for=condition=Ready", &format!("pod/{name}")]);
    }
}

async fn outcome(node: &RealNode, sample: &Value) -> (String, String) {
    let name = sample["metadata"]["name"].as_str().unwrap();
    let kind = format!("{}State", sample["kind"].as_str().unwrap());
    wait::some(&format!("{name} has an outcome"), async || {
        let words = ["get", &kind, "-A", "-o", "json"];
        let states = node.cluster.kubectl(&words).json();
        let of_it = |state: &&Value| state["metadata"]["labels"].to_string().contains(&format!("\"{name}\""));
        let state = states["items"].as_array()?.iter().find(of_it)?.clone();
        let condition = &state["status"]["conditions"][0];
        let part = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let is_final = !["", "Pending", "Unknown"].contains(&part("reason").as_str());
        is_final.then(|| (part("reason"), part("message")))
    })
    .await
}

#[tokio::test]
async fn upstream_samples_run_on_a_node() {
    let Some(node) = RealNode::start() else { return };
    let _registry = in_network(&node.cluster.netns(), || Registry::start_at("127.0.0.1:5000"));
    interfaces(&node);
    let samples = samples();
    publish(&node, &samples);
    node.deploy_with(&format!("[[images]]\npattern = \"{REGISTRY}*\"\nunsigned = true\n")).await;
    node.deployed().await;
    pods(&node).await;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned();
    for sample in &samples {
        node.cluster.apply_one(sample.clone()).await;
    }
    for sample in &samples {
        let name = sample["metadata"]["name"].as_str().unwrap();
        let (reason, message) = outcome(&node, sample).await;
        eprintln!("{name}: {reason}: {message}");
        let packaged = std::env::var_os("BPFMAN_IMAGES").map(|_| &REFUSED_IF_PACKAGED);
        let refused = REFUSED.iter().chain(packaged).find(|(refused, _)| *refused == name);
        match (refused, &*reason) {
            (Some((_, words)), "Error") => assert!(message.contains(words), "{name}: {message}"),
            (None, "Success") => {}
            (None, "Error") if OF_SOME_KERNELS.contains(&name) => {
                assert!(message.contains(&kernel), "{name}: {message}");
            }
            _ => panic!("{name}: {reason}: {message}"),
        }
    }
    let web = node.cluster.kubectl(&["-n", "shop", "get", "pod", "web", "-o", "json"]).json();
    assert!(!node.xdp_of(&web).is_null());

    let kinds = "clusterbpfapplications,bpfapplications";
    node.delete(&[kinds, "--all", "-n", "shop"]).success();
    assert!(node.xdp_of(&web).is_null(), "{}", node.xdp_of(&web));
    let links = run(&["nsenter", &format!("--net={}", node.cluster.netns().display()), "bpftool", "net"]);
    assert!(!links.contains("eth0"), "{links}");
}

//! Measurements for `docs/scale.md`, with the images of `packaging/containers`. `make measure-node` prints them.

use std::fs;
use std::time::{Duration, Instant};

use bpfman_cluster_tests::wait;
use bpfman_tests::command::run;
use serde_json::json;

use crate::node::RealNode;
use crate::pods::{application, in_pods, pod};

const FOR_ONE_POD: usize = 10;

#[tokio::test]
#[ignore = "a measurement"]
async fn memory_and_apply_to_attached_in_pods() {
    let Some(node) = RealNode::start() else { return };
    let cluster = &node.cluster;
    node.deploy().await;
    node.deployed().await;
    let object = node.bytecode("chain");
    memory(&node, "at start");

    for name in ["web-0", "web-1"] {
        cluster.apply_one(pod(name, "bpfman.test/busybox:1", &["/bin/sleep", "3600"])).await;
    }
    node.wait(&["--for=condition=Ready", "pod/web-0", "pod/web-1"]);
    for number in 0..2 * FOR_ONE_POD {
        if number == 5 {
            memory(&node, "5 applications");
        }
        let app = format!("web-{}", number / FOR_ONE_POD);
        let programs = json!([
            in_pods("xdp_member", "XDP", &app),
            in_pods("xdp_another", "XDP", &app),
            in_pods("tc_member", "TC", &app),
            in_pods("tcx_member", "TCX", &app),
        ]);
        let name = format!("kept-{number}");
        cluster.apply_one(application(&name, &object, &programs)).await;
        node.wait(&["--for=condition=Success", &format!("clusterbpfapplication/{name}")]);
    }
    memory(&node, "20 applications");

    // The interface belongs to the node, so that it can be queried without entering a pod.
    let netns = cluster.netns().file_name().unwrap().to_str().unwrap().to_owned();
    run(&["ip", "-n", &netns, "link", "add", "up0", "type", "veth", "peer", "name", "down0"]);
    let mut times = Vec::new();
    for round in 0..20 {
        let name = format!("measured-{round}");
        let link = json!([{ "interfaceSelector": { "interfaces": ["up0"] } }]);
        let programs = json!([{ "name": "xdp_member", "type": "XDP", "xdp": { "links": link } }]);
        let written = application(&name, &object, &programs);
        let attached = || run(&["ip", "-n", &netns, "-d", "link", "show", "up0"]).contains("prog/xdp");
        let began = Instant::now();
        cluster.apply_one(written).await;
        wait::until("it is attached", async || attached()).await;
        times.push(began.elapsed());
        node.delete_application(&name);
    }
    memory(&node, "20 applications, after 20 that came and went");
    times.sort();
    let (median, most): (Duration, Duration) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("apply to attached, beside 20 applications: median {median:?}, longest {most:?}");
}

fn memory(node: &RealNode, when: &str) {
    for app in ["bpfman-agent", "bpfman-operator", "bpfman-daemon"] {
        for pod in node.pods_of(app) {
            let status = fs::read_to_string(format!("/proc/{}/status", node.process(&pod))).unwrap();
            let of = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
                line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
            };
            eprintln!(
                "{when}: {app} VmRSS {:.1}, at most {:.1}, of its own (RssAnon) {:.1}, threads {}",
                of("VmRSS:"),
                of("VmHWM:"),
                of("RssAnon:"),
                of("Threads:") * 1024.0,
            );
        }
    }
}

//! Gates of rollouts, evaluated on metrics of real programs: packets by their chain, events by the kernel.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bpfman_cluster_tests::{Node, Operator, wait};
use bpfman_tests::compile;
use bpfman_tests::target::Target;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{application, links, objects, start, until_state, xdp};

const PACE: Duration = Duration::from_millis(1);

struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Busy {
    fn with(mut work: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                work();
                std::thread::sleep(PACE);
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn packets(node: &Node) -> Self {
        let shown: Value = serde_json::from_str(&node.network.ip(&["-j", "link", "show", "up0"])).unwrap();
        let address = shown[0]["address"].as_str().unwrap();
        node.network.ip(&["address", "add", "10.77.0.1/24", "dev", "up0"]);
        node.outside.ip(&["address", "add", "10.77.0.2/24", "dev", "up0"]);
        node.outside.ip(&[
            "neigh",
            "replace",
            "10.77.0.1",
            "lladdr",
            address,
            "dev",
            "up0",
            "nud",
            "permanent",
        ]);
        let socket = node.outside.inside(|| UdpSocket::bind("10.77.0.2:0").unwrap());
        Self::with(move || drop(socket.send_to(b"bpfman", "10.77.0.1:4242")))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_drops_too_much_goes_back_by_itself() {
    let Some((cluster, node, _agent)) = start("gated").await else { return };
    cluster.namespace("bpfman").await;
    let flags =
        ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0", "--metrics-bind-address=0"];
    let flags: Vec<_> = flags.iter().chain(&["--namespace", "bpfman"]).collect();
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags, &[]);
    let _packets = Busy::packets(&node);
    let arrives = node.network.inside(|| UdpSocket::bind("10.77.0.1:4242").unwrap());
    arrives.set_nonblocking(true).unwrap();
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    let until = async |what: &str, is: fn(&Value) -> bool| {
        wait::some(what, async || {
            let rollout = applications.get("guard").await.unwrap().data["status"]["rollout"].clone();
            is(&rollout).then_some(rollout)
        })
        .await
    };
    // The program's verdict is a global variable: XDP_PASS first, XDP_DROP later.
    let mut written =
        application("guard", &compile::object("chain"), json!([xdp("xdp_member", &["up0"], 50)]));
    written["spec"]["globalData"] = json!({ "verdict": "AgAAAA==" });
    written["spec"]["rollout"] = json!({
        "soakSeconds": 1, "progressDeadlineSeconds": 60, "preflight": "Never",
        "gates": { "verdicts": [{ "verdict": "drop", "maxPercent": 1 }], "minRuns": 10 },
    });
    cluster.apply_one(written).await;
    let good = until("the first version is through", |rollout| {
        rollout["phase"] == "Idle" && rollout["stableRevision"].is_string()
    })
    .await;

    let patch = Patch::Merge(json!({ "spec": { "globalData": { "verdict": "AQAAAA==" } } }));
    applications.patch("guard", &PatchParams::default(), &patch).await.unwrap();
    let failed =
        until("it went back", |rollout| rollout["phase"] == "Idle" && rollout["failedRevision"].is_string())
            .await;
    assert_eq!(failed["stableRevision"], good["stableRevision"], "{failed}");
    assert_ne!(failed["failedRevision"], good["stableRevision"], "{failed}");
    assert!(failed.to_string().contains("% of"), "the figure that broke the gate: {failed}");
    until_state(&cluster, "guard", "the good one runs", |status| {
        status["observedRevision"] == good["stableRevision"] && status["conditions"][0]["reason"] == "Success"
    })
    .await;
    assert_eq!(links(&node).len(), 1);
    while arrives.recv(&mut [0; 64]).is_ok() {}
    wait::until("packets pass again", async || arrives.recv(&mut [0; 64]).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_at_events_keeps_to_its_time() {
    let Some((cluster, _node, _agent)) = start("events").await else { return };
    cluster.namespace("bpfman").await;
    let mut target = Target::start();
    let _events = Busy::with(move || target.get_priority());
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    let mut written = application(
        "snoop",
        &compile::object("probes"),
        json!([{ "name": "on_tracepoint", "type": "TracePoint",
                 "tracepoint": { "links": [{ "name": "syscalls/sys_enter_getpriority" }] } }]),
    );
    let data = written["spec"].clone();
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": { "name": "snoop-1", "namespace": "bpfman" }, "revision": 1, "data": data,
    });
    // No program can run in one nanosecond.
    written["spec"]["rollout"] = json!({ "gates": { "maxNanosecondsPerRun": 1, "minRuns": 5 } });
    cluster.apply_one(revision).await;
    cluster.apply_one(written).await;
    let state = until_state(&cluster, "snoop", "it waits", |status| status.is_object()).await;
    let orders = json!({ "bpfman.io/revision": "snoop-1", "bpfman.io/soak": "snoop-1" });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": orders } }));
    states.patch(&state.name_any(), &PatchParams::default(), &patch).await.unwrap();
    let judged =
        until_state(&cluster, "snoop", "it is too slow", |status| status["health"]["within"] == false).await;
    let message = judged.data["status"]["health"]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("on_tracepoint at TracePoint takes "), "{message}");
    assert!(message.ends_with(" ns a run, at most 1 are allowed"), "{message}");

    let gates = json!({ "maxNanosecondsPerRun": 1_000_000_000, "maxErrors": 0, "minRuns": 5 });
    let patch = Patch::Merge(json!({ "spec": { "rollout": { "gates": gates } } }));
    applications.patch("snoop", &PatchParams::default(), &patch).await.unwrap();
    let judged =
        until_state(&cluster, "snoop", "it is fast enough", |status| status["health"]["within"] == true)
            .await;
    let message = judged.data["status"]["health"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("events in samples") && message.contains(" ns a run at most, 0 errors"),
        "{message}"
    );
}

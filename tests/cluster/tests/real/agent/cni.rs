//! CNI plugin behind a real main plugin: packets, refusals, outages.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bpfman_cluster_tests::scripts::{self, Stage};
use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::container::Container;
use bpfman_tests::network::Namespace;
use bpfman_tests::{binaries, compile};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::equipment::{application, links, until_state, until_success};

/// Address of every pod: a test has one pod at a time that receives packets.
const POD: &str = "10.89.0.2";
const JUDGED: u16 = 4242;

struct Site {
    cluster: Cluster,
    node: Node,
    folder: TempDir,
}

struct Added {
    ok: bool,
    output: Value,
    notes: String,
}

impl Added {
    fn refused(&self, code: u32, names: &[&str]) {
        assert!(!self.ok && self.output["code"] == code, "{}", self.output);
        let text = self.output.to_string();
        names.iter().for_each(|name| assert!(text.contains(name), "{name}: {text}"));
    }

    fn accepted(&self) {
        assert!(self.ok, "{} {}", self.output, self.notes);
    }
}

impl Site {
    async fn start(name: &str) -> Option<(Self, Operator)> {
        scripts::kubernetes(Stage::Node)?;
        let cluster = Cluster::own()?;
        cluster.apply_definitions().await;
        for namespace in ["shop", "other"] {
            cluster.namespace(namespace).await;
        }
        let node = Node::start(&cluster, name, &[("zone", "one")]).await;
        let site = Self { cluster, node, folder: tempfile::tempdir().unwrap() };
        let agent = site.agent().await;
        Some((site, agent))
    }

    async fn agent(&self) -> Operator {
        let flags = [
            format!("--node-name={}", self.node.name),
            format!("--daemon-socket={}", self.node.daemon.socket().display()),
            "--health-probe-bind-address=127.0.0.1:0".to_owned(),
            "--metrics-bind-address=0".to_owned(),
            format!("--cni-socket={}", self.path("cni.sock")),
            format!("--cni-state-file={}", self.path("protect.json")),
        ];
        let log = [("BPFMAN_LOG", "info,bpfman_operator=debug")];
        let agent = Operator::start(&self.cluster, "agent", &self.cluster.kubeconfig(), &flags, &log);
        wait::until("the plugin is listened to", async || {
            let log = agent.log();
            log.contains("the CNI plugin is listened to") && log.contains("everything is known")
        })
        .await;
        agent
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn pod(&self, namespace: &str, name: &str, app: &str) {
        self.cluster
            .apply_one(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "namespace": namespace, "labels": { "app": app } },
                "spec": { "nodeName": self.node.name, "containers": [{ "name": "main", "image": "none" }] },
            }))
            .await;
    }

    fn call(&self, plugin: &Path, command: &str, pod: &str, network: &Namespace, input: &Value) -> Added {
        let (namespace, name) = pod.split_once('/').unwrap();
        let mut process = self.node.network.command(&plugin.display().to_string());
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).envs([
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_NETNS", &network.path().display().to_string()),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", &self.cluster.path("bin/cni").display().to_string()),
            ("CNI_ARGS", &format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}")),
        ]);
        let mut child = process.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        Added {
            ok: done.status.success(),
            output: serde_json::from_slice(&done.stdout).unwrap_or_default(),
            notes: String::from_utf8(done.stderr).unwrap(),
        }
    }

    fn protect(&self, command: &str, pod: &str, network: &Namespace, result: &Value) -> Added {
        let input = json!({
            "cniVersion": "0.4.0", "name": "pods", "type": "bpfman-cni", "prevResult": result,
            "agentSocket": self.path("cni.sock"), "stateFile": self.path("protect.json"),
        });
        self.call(&binaries::find("bpfman-cni"), command, pod, network, &input)
    }

    fn add(&self, pod: &str, network: &Namespace) -> Added {
        let input = json!({
            "cniVersion": "0.4.0", "name": "pods", "type": "ptp",
            "ipam": { "type": "static", "addresses": [{ "address": format!("{POD}/24"), "gateway": "10.89.0.1" }] },
        });
        let made = self.call(&self.cluster.path("bin/cni/ptp"), "ADD", pod, network, &input);
        made.accepted();
        self.protect("ADD", pod, network, &made.output)
    }

    fn add_bare(&self, pod: &str) -> (Added, Namespace) {
        let network = Namespace::new("pod");
        network.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
        (self.protect("ADD", pod, &network, &json!({ "cniVersion": "0.4.0" })), network)
    }
}

struct Stream {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Stream {
    fn start(node: &Node) -> Self {
        let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&sent), Arc::clone(&stop));
        let socket = node.network.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // There is no route until the main plugin has added it.
                if socket.send_to(b"bpfman", (POD, JUDGED)).is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
        });
        Self { sent, stop }
    }

    async fn more(&self, count: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + count;
        wait::until("packets are sent", async || self.sent.load(Ordering::Relaxed) >= goal).await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The pod's program drops the ARP response: without a neighbour entry no datagrams would reach it.
fn introduce(node: &Node, network: &Namespace) {
    let link: Value = serde_json::from_str(&network.ip(&["-j", "link", "show", "eth0"])).unwrap();
    let route: Value = serde_json::from_str(&node.network.ip(&["-j", "route", "get", POD])).unwrap();
    let (address, device) = (link[0]["address"].as_str().unwrap(), route[0]["dev"].as_str().unwrap());
    node.network.ip(&["neigh", "replace", POD, "lladdr", address, "dev", device, "nud", "permanent"]);
}

async fn received(network: &Namespace, stream: &Stream) -> usize {
    let socket = network.inside(|| UdpSocket::bind(("0.0.0.0", JUDGED)).unwrap());
    socket.set_nonblocking(true).unwrap();
    stream.more(1000).await;
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 64]) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
            Err(error) => panic!("{error}"),
        }
    }
}

fn dropper(name: &str, app: &str, on_unavailable: &str, object: &Path) -> Value {
    let mut written = application(
        name,
        object,
        json!([{ "name": "xdp_member", "type": "XDP", "xdp": { "links": [{
            "interfaceSelector": { "interfaces": ["eth0"] }, "onUnavailable": on_unavailable,
            "networkNamespaces": { "namespace": "shop", "pods": { "matchLabels": { "app": app } } },
        }] } }]),
    );
    written["spec"]["globalData"] = json!({ "verdict": "AQAAAA==" });
    written
}

fn is_attached(network: &Namespace) -> bool {
    network.ip(&["link", "show", "eth0"]).contains("xdp")
}

#[tokio::test]
async fn first_packet_of_a_pod_meets_its_program_and_link_is_found() {
    let Some((site, mut agent)) = Site::start("first-packet").await else { return };
    let made = site.cluster.apply_one(dropper("guard", "web", "closed", &compile::object("chain"))).await;
    until_success(&site.cluster, &made).await;

    // A pod without the program receives datagrams, so the test would notice one that passes.
    site.pod("shop", "db-1", "db").await;
    let network = Namespace::new("pod");
    let stream = Stream::start(&site.node);
    site.add("shop/db-1", &network).accepted();
    assert!(received(&network, &stream).await > 0);
    assert!(links(&site.node).is_empty());
    drop((stream, network));
    // The kernel removes the pod's namespace in the background; a route left over would look like the next pod's.
    wait::until("the route is gone", async || site.node.network.ip(&["route", "show", POD]).is_empty()).await;

    site.pod("shop", "web-1", "web").await;
    let network = Namespace::new("pod");
    let stream = Stream::start(&site.node);
    let added = site.add("shop/web-1", &network);
    added.accepted();
    assert_eq!(added.output["ips"][0]["address"], format!("{POD}/24"), "the main plugin's result");
    introduce(&site.node, &network);
    assert_eq!(received(&network, &stream).await, 0, "packets before attachment");
    assert!(is_attached(&network));
    site.protect("CHECK", "shop/web-1", &network, &added.output).accepted();

    // An agent that starts before the pod's first container keeps the link, and so does that container.
    let before = site.node.daemon.bpfman("list links -o json").json();
    assert_eq!(before["links"].as_array().unwrap().len(), 1);
    agent.kill();
    let second = site.agent().await;
    wait::until("it looked", async || second.log().contains(" reconciled ")).await;
    assert_eq!(site.node.daemon.bpfman("list links -o json").json(), before);
    let container = Container::start(40, &network);
    site.cluster.pod("shop", "web-1", "first-packet", &[("app", "web")], &[("main", &container.id)]).await;
    until_state(&site.cluster, "guard", "the link is told of", |status| {
        status["programs"][0]["xdp"]["links"][0]["linkStatus"] == "Attached"
            && status["conditions"][0]["reason"] == "Success"
    })
    .await;
    assert_eq!(site.node.daemon.bpfman("list links -o json").json(), before);
    assert_eq!(received(&network, &stream).await, 0);

    site.protect("DEL", "shop/web-1", &network, &Value::Null).accepted();
}

#[tokio::test]
async fn impossible_attachment_is_refused_or_not_as_specified() {
    let Some((site, _agent)) = Site::start("unavailable").await else { return };
    let (good, none) = (compile::object("chain"), Path::new("/nonexistent/guard.o"));
    for (name, word) in [("opened", "open"), ("closed", "closed"), ("never", "lastKnown")] {
        site.cluster.apply_one(dropper(name, name, word, none)).await;
        site.pod("shop", name, name).await;
    }
    for (name, word) in [("known", "lastKnown"), ("strict", "closed")] {
        let made = site.cluster.apply_one(dropper(name, name, word, &good)).await;
        until_success(&site.cluster, &made).await;
        site.cluster.apply_one(dropper(name, name, word, none)).await;
        site.pod("shop", name, name).await;
    }
    for name in ["opened", "closed", "never", "known", "strict"] {
        until_state(&site.cluster, name, "the new version was tried", |status| {
            status["failure"]["message"].as_str().is_some_and(|message| message.contains("guard.o"))
        })
        .await;
    }
    let (open, network) = site.add_bare("shop/opened");
    open.accepted();
    assert!(open.notes.contains("opened: xdp_member") && !is_attached(&network), "{}", open.notes);
    for name in ["closed", "never"] {
        let (refused, network) = site.add_bare(&format!("shop/{name}"));
        refused.refused(100, &[&format!("ClusterBpfApplication {name}"), "xdp_member", "guard.o"]);
        assert!(!is_attached(&network));
    }
    let (known, network) = site.add_bare("shop/known");
    known.accepted();
    assert!(is_attached(&network), "the version that was loaded before");
    let (strict, _network) = site.add_bare("shop/strict");
    strict.refused(100, &["ClusterBpfApplication strict", "xdp_member", "only an older version runs"]);
}

#[tokio::test]
async fn outages_leave_no_pod_unprotected_and_no_other_waiting() {
    let Some((mut site, mut agent)) = Site::start("cni-outages").await else { return };
    let made = site.cluster.apply_one(dropper("guard", "web", "closed", &compile::object("chain"))).await;
    until_success(&site.cluster, &made).await;
    for (namespace, name) in [("shop", "web-1"), ("shop", "web-2"), ("other", "web-1")] {
        site.pod(namespace, name, "web").await;
    }
    let (first, network) = site.add_bare("shop/web-1");
    first.accepted();
    assert!(is_attached(&network));

    // Without the API server, known pods are protected; unknown ones are decided by the rules.
    site.cluster.kill_api_server();
    let (known, second) = site.add_bare("shop/web-2");
    known.accepted();
    assert!(is_attached(&second));
    site.add_bare("shop/unheard-of").0.refused(11, &["unheard-of", "cannot be asked for", "xdp_member"]);
    site.add_bare("other/unheard-of").0.accepted();
    site.cluster.start_api_server();

    agent.kill();
    site.add_bare("shop/web-2").0.refused(11, &["cni.sock", "ClusterBpfApplication guard", "protect.json"]);
    for passes in ["other/web-1", "bpfman/bpfman-agent-x", "kube-system/dns-1"] {
        site.add_bare(passes).0.accepted();
    }
    let _again = site.agent().await;
    let (back, network) = site.add_bare("shop/web-2");
    back.accepted();
    assert!(is_attached(&network));

    // Without the daemon, the agent knows which pods require a program.
    site.node.daemon.kill();
    site.add_bare("shop/web-1").0.refused(100, &["ClusterBpfApplication guard", "xdp_member"]);
    site.add_bare("other/web-1").0.accepted();
}

#[tokio::test]
async fn a_plugin_that_a_rival_takes_out_is_an_event_of_the_node() {
    let Some((site, _agent)) = Site::start("displaced").await else { return };
    let request = json!({ "version": 1, "verb": "displaced", "file": "/etc/cni/net.d/05-rival.conflist" });
    for _ in 0..2 {
        let mut stream = UnixStream::connect(site.path("cni.sock")).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["unknown"], Value::Null, "{answer}");
    }
    let events = || {
        let line = ["get", "events", "-A", "-o", "json", "--field-selector=reason=NetworkPluginDisplaced"];
        let listed: Value = serde_json::from_str(&site.cluster.kubectl(&line).success()).unwrap();
        listed["items"].as_array().unwrap().clone()
    };
    wait::until("the event is written", async || !events().is_empty()).await;
    let [event] = &events()[..] else { panic!("one a minute: {:?}", events()) };
    let about = &event["involvedObject"];
    assert_eq!((&about["kind"], &about["name"]), (&json!("Node"), &json!(site.node.name)), "{event}");
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("05-rival.conflist") && message.contains("cni.exclusive=false"), "{message}");
}

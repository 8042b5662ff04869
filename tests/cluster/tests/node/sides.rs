//! Companion commands of the examples on two nodes, except flows and profiler, which `observers.rs` tests.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use bpfman_cluster_tests::cluster::in_network;
use bpfman_cluster_tests::{scripts, wait};
use bpfman_tests::Outcome;
use bpfman_tests::command::run;
use bpfman_tests::control_group::Group;
use bpfman_tests::skip::lacks_tcx;
use serde_json::{Value, json};

use crate::gallery::Gallery;
use crate::node::{RealNode, text};
use crate::pods::pod;

/// Address of node-b, see `tests/kube/node-up`.
const SECOND: &str = "198.51.100.2";
const DROPPED: u16 = 23;
const CLOSED: u16 = 7003;
const GUARDED: &str = "/guarded.slice";
/// Log lines which show that rules are in force: example, container, line of each of its pods.
const RULES: [(&str, &str, &str); 5] = [
    ("xdp-firewall", "rules", "2 rules: 2 added, 0 removed, 0 kept"),
    ("xdp-balancer", "services", "1 services with 2 backends"),
    ("egress-guard", "rules", "4 rules, mode shadow"),
    ("switch-port", "rules", "1 rules"),
    ("sock-shortcut", "rules", "1 rules"),
];
const TOLD: [&str; 5] = ["watchdog", "exec-snoop", "xdp-counter", "tls-trace", "pod-fastpath"];
const SECURE: &str = "bpfman.test/secure:1";

fn logs(node: &RealNode, entry: &str, container: &str, words: &[&str]) -> String {
    let pods = format!("app.kubernetes.io/name={entry}");
    let all = ["-n", entry, "logs", "-l", &pods, "-c", container, "--tail=-1"];
    node.cluster.kubectl(&[&all, words].concat()).success()
}

async fn both_say(node: &RealNode, entry: &str, container: &str, what: &str) {
    wait::until(&format!("{entry}, {container}: {what}"), async || {
        let said = logs(node, entry, container, &["--prefix"]);
        let lines = said.lines().filter(|line| line.contains(what));
        // A line is `[pod/…/…]` followed by the message.
        lines.filter_map(|line| line.split(' ').next()).collect::<BTreeSet<_>>().len() == 2
    })
    .await;
}

fn failure(node: &RealNode, port: u16, patience: Duration) -> ErrorKind {
    let to = SocketAddr::new(SECOND.parse().unwrap(), port);
    let connect = move || TcpStream::connect_timeout(&to, patience).unwrap_err();
    in_network(&node.cluster.netns(), connect).kind()
}

fn assert_dropped(node: &RealNode, port: u16) {
    assert_eq!(failure(node, port, Duration::from_secs(2)), ErrorKind::TimedOut);
}

fn assert_refused(node: &RealNode, port: u16) {
    assert_eq!(failure(node, port, wait::DEADLINE), ErrorKind::ConnectionRefused);
}

fn start(node: &RealNode, name: &str) {
    let program = node.cluster.path(name);
    fs::copy("/bin/true", &program).unwrap();
    assert!(program.starts_with("/tmp/"), "the watchdog's rule is about /tmp");
    assert!(Command::new(program).status().unwrap().success());
}

async fn speak_tls(node: &RealNode) {
    let file = |name: &str| text(&node.cluster.path(name));
    let (key, certificate) = (file("secure.key"), file("secure.crt"));
    let line = format!(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=secure -keyout {key} -out {certificate}"
    );
    run(&[&["openssl"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let openssl = run(&["sh", "-c", "command -v openssl"]);
    let mut files =
        vec![format!("{}:/openssl", openssl.trim()), format!("{key}:/key"), format!("{certificate}:/crt")];
    let libraries = run(&["ldd", openssl.trim()]);
    files.extend(
        libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
            .map(|word| format!("{word}:{word}")),
    );
    let words: Vec<&str> = [SECURE, "/openssl"].into_iter().chain(files.iter().map(String::as_str)).collect();
    scripts::run("image", &node.cluster.path(""), &words);
    let command = ["/openssl", "s_server", "-accept", "8443", "-cert", "/crt", "-key", "/key"];
    let mut secure = pod("secure", SECURE, &command);
    secure["metadata"]["labels"] = json!({ "tls-trace": "seen" });
    secure["spec"]["nodeName"] = json!("node-b");
    // The server exits when its standard input is closed.
    secure["spec"]["containers"][0]["stdin"] = json!(true);
    node.cluster.apply_one(secure).await;
    node.wait(&["--for=condition=Ready", "pod/secure"]);
}

async fn assert_requests_of_a_pod_are_logged(node: &RealNode) {
    let pod = node.cluster.kubectl(&["get", "pod/secure", "-o", "json"]).json();
    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let netns = node.second_netns();
    wait::until("the head of a request is told", async || {
        let ask = format!(
            "printf 'GET /asked-by-the-test HTTP/1.0\\r\\n\\r\\n' | timeout 2 openssl s_client -quiet -connect {address}:8443"
        );
        let _ended_by_timeout = Outcome::of(Command::new("nsenter").args([&format!("--net={}", netns.display()), "sh", "-c", &ask]));
        logs(node, "tls-trace", "tls-trace", &[]).contains("/asked-by-the-test")
    })
    .await;
}

async fn rules_change_with_their_config_map(node: &RealNode) {
    let kubectl = |words: &[&str]| node.cluster.kubectl(words).success();
    let rules = format!(r#"{{"data":{{"rules.txt":"drop proto tcp dport {CLOSED}\n"}}}}"#);
    kubectl(&["-n", "xdp-firewall", "patch", "configmap/xdp-firewall", "--type=merge", "-p", &rules]);
    // The annotation makes the kubelet synchronize the pod and its mounts at once.
    let pods = "app.kubernetes.io/name=xdp-firewall";
    kubectl(&["-n", "xdp-firewall", "annotate", "pods", "-l", pods, "looked-at=now"]);
    both_say(node, "xdp-firewall", "rules", "1 rules: 1 added, 2 removed, 0 kept").await;
    assert_dropped(node, CLOSED);
    assert_refused(node, DROPPED);
}

fn a_job_is_reported(node: &RealNode) {
    node.wait(&["-n", "ci-guard", "--for=condition=Complete", "job/ci-guard"]);
    let said = logs(node, "ci-guard", "job", &[]);
    let report = &said[said.find("{\n").unwrap_or_else(|| panic!("no report: {said}"))..];
    let report: Value = serde_json::Deserializer::from_str(report).into_iter().next().unwrap().unwrap();
    assert_eq!(report["verdict"], "clean", "{said}");
    let started =
        report["exec"].as_array().unwrap().iter().any(|exec| exec["path"] == "/usr/bin/bpfman-ci-guard");
    assert!(started, "{said}");
}

fn none_started_again(node: &RealNode, entry: &str) {
    let pods = node.cluster.kubectl(&["-n", entry, "get", "pods", "-o", "json"]).json();
    for pod in pods["items"].as_array().unwrap() {
        for container in pod["status"]["containerStatuses"].as_array().unwrap() {
            let said = logs(node, entry, container["name"].as_str().unwrap(), &[]);
            assert_eq!(container["restartCount"], 0, "{entry}: {container}\n{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_has_its_side_on_every_node() {
    if lacks_tcx("each_entry_has_its_side_on_every_node") {
        return;
    }
    let Some(node) = RealNode::start_two() else { return };
    let _guarded = Group::at(GUARDED);
    let gallery = Gallery::open(&node);
    node.deploy_with(&gallery.policy()).await;
    node.deployed().await;
    let with_rules = RULES.map(|(entry, ..)| entry);
    let all: Vec<&str> = [&with_rules[..], &TOLD].concat();
    for entry in all.iter().chain(&["ci-guard"]) {
        // The manifest names the cgroup of the whole machine, which other tests use too.
        let place = (*entry == "sock-shortcut").then_some(("- path: /\n", "- path: /guarded.slice\n"));
        gallery.apply_at(&node, entry, place);
    }
    speak_tls(&node).await;
    for entry in &all {
        node.wait(&["--for=condition=Success", &format!("clusterbpfapplication/{entry}")]);
        node.side_runs(entry);
    }

    for (entry, container, says) in RULES {
        both_say(&node, entry, container, says).await;
    }
    assert_dropped(&node, DROPPED);
    assert_refused(&node, CLOSED);
    // The address of the manifest's backend does not exist.
    both_say(&node, "xdp-balancer", "health", "198.51.100.10 is down").await;
    both_say(&node, "watchdog", "rules", "1 rules, revision 1, mode shadow").await;
    // The nodes share one kernel, so both observe the program.
    start(&node, "seen-to-start");
    let started = text(&node.cluster.path("seen-to-start"));
    both_say(&node, "exec-snoop", "exec-snoop", &started).await;
    both_say(&node, "watchdog", "alerts", &started).await;
    both_say(&node, "xdp-counter", "xdp-counter", "\"ipv4/tcp\"").await;
    // The plus shows a route of the node itself to a pod.
    both_say(&node, "pod-fastpath", "sync", "+ 10.88.").await;
    assert_requests_of_a_pod_are_logged(&node).await;
    a_job_is_reported(&node);
    rules_change_with_their_config_map(&node).await;
    all.iter().for_each(|entry| none_started_again(&node, entry));
}

//! Metrics of an agent over TLS, authorized by the API server; the agent uses its packaged account.

use std::fs;

use bpfman_cluster_tests::operator::Operator;
use bpfman_cluster_tests::{Cluster, Node, wait};
use bpfman_runtime::certificate::{CertificateTerms, make};
use bpfman_tests::Outcome;

use super::metrics::{assert_cached_decisions, assert_refused, readers, scrape};
use super::{NAMESPACE, rights};
use crate::agent::equipment::{agent_as, metrics, probes};

async fn start(cluster: &Cluster, more: &[&str]) -> (Node, Operator) {
    cluster.apply_definitions().await;
    rights(cluster).await;
    let node = Node::start(cluster, "scraped", &[("zone", "one")]).await;
    let token = cluster.token(NAMESPACE, "bpfman-agent").await;
    let agent = agent_as(cluster, "scraped", &node.daemon.socket(), &cluster.kubeconfig_with(&token), more);
    (node, agent)
}

fn curl(cluster: &Cluster, url: &str) -> Outcome {
    Outcome::of(cluster.command("curl").args([
        "-sS",
        "--max-time",
        "20",
        "-o",
        "-",
        "-w",
        "\n%{http_code}",
        url,
    ]))
}

#[tokio::test]
async fn metrics_need_authorization_by_the_api_server_and_tls() {
    let Some(cluster) = Cluster::own() else { return };
    let (_node, mut agent) = start(&cluster, &[]).await;
    let (allowed, other) = readers(&cluster).await;
    let (probes, address) = (probes(&agent).await, metrics(&agent).await);
    wait::until("metrics are read over TLS", async || {
        let answer = scrape(&cluster, &address, None, Some(&allowed)).await;
        answer.is_ok_and(|text| text.contains("bpfman_agent_daemon_up 1"))
    })
    .await;
    assert_refused(&cluster, &address, None, &other).await;

    // There are no metrics in plain text: neither on the TLS port nor on the port of the probes.
    let plain = curl(&cluster, &format!("http://{address}/metrics"));
    assert!(plain.code != 0 && !plain.stdout.contains("bpfman_"), "{plain:?}");
    let beside = curl(&cluster, &format!("http://{probes}/metrics")).success();
    assert!(beside.ends_with("404") && !beside.contains("bpfman_"), "{beside}");
    let alive = curl(&cluster, &format!("http://{probes}/healthz")).success();
    assert!(alive.ends_with("200"), "{alive}");

    assert_cached_decisions(&cluster, &address, None, (&allowed, &other)).await;
    assert!(agent.ended().is_none());
}

#[tokio::test]
async fn a_certificate_that_is_given_is_served_and_replaced() {
    let Some(cluster) = Cluster::own() else { return };
    let terms = CertificateTerms { seconds: 86_400 };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let issue = || make(&["127.0.0.1".to_owned()], now, terms).unwrap();
    let (certificate, key) = (cluster.path("given.crt"), cluster.path("given.key"));
    let (first, second) = (issue(), issue());
    fs::write(&certificate, &first.certificate).unwrap();
    fs::write(&key, &first.key).unwrap();
    let flags = [
        format!("--metrics-certificate={}", certificate.display()),
        format!("--metrics-key={}", key.display()),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let (node, agent) = start(&cluster, &flags).await;
    let (allowed, _) = readers(&cluster).await;
    let address = metrics(&agent).await;
    let reads = async |authority: &str| {
        let answer = scrape(&cluster, &address, Some(authority.as_bytes()), Some(&allowed)).await;
        answer.is_ok_and(|text| text.contains("bpfman_agent_build_info"))
    };
    wait::until("the given one is served", async || reads(&first.authority).await).await;
    assert!(!reads(&second.authority).await);
    fs::write(&certificate, &second.certificate).unwrap();
    fs::write(&key, &second.key).unwrap();
    wait::until("the next one is served", async || reads(&second.authority).await).await;
    assert!(!reads(&first.authority).await);

    fs::write(&key, "nothing").unwrap();
    drop(agent);
    let token = cluster.token(NAMESPACE, "bpfman-agent").await;
    let mut agent =
        agent_as(&cluster, "scraped", &node.daemon.socket(), &cluster.kubeconfig_with(&token), &flags);
    wait::until("it ends", async || agent.ended().is_some()).await;
    let log = agent.log();
    assert!(log.contains("the certificate of metrics") && log.contains("given.key"), "{log}");
}

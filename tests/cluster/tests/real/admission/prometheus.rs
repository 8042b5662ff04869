//! Debian's Prometheus scrapes controller, agent and daemon: every shipped expression returns data.

use std::fs;

use bpfman_cluster_tests::{Cluster, wait};
use bpfman_tests::monitoring::{ShippedExpression, alert_expressions, dashboard_expressions, folder};
use bpfman_tests::prometheus::Prometheus;
use bpfman_tests::{Daemon, Launch, compile};
use serde_json::{Value, json};

use super::metrics::{authority, readers};
use super::{configure, controller_with, rights};
use crate::agent::equipment::{agent, application, metrics, until_success, xdp};

async fn daemon(cluster: &Cluster, name: &str) -> Daemon {
    let netns = format!("--net={}", cluster.netns().display());
    let daemon = Daemon::start_with(&Launch {
        config: "[metrics]\nlisten = \"127.0.0.1:9464\"\nrun_statistics = true\n".to_owned(),
        wrapper: vec!["nsenter".to_owned(), netns],
        ..Launch::default()
    });
    cluster.node(name, &[("zone", "one")]).await;
    let made = cluster
        .command("ip")
        .args(["link", "add", "up0", "type", "veth", "peer", "name", "up1"])
        .status()
        .unwrap();
    assert!(made.success());
    daemon
}

async fn config(cluster: &Cluster, agent: &str) -> String {
    let (token, _) = readers(cluster).await;
    let (ca, file) = (cluster.path("prometheus-ca.crt"), cluster.path("prometheus-token"));
    wait::until("the controller has a certificate", async || !authority(cluster).await.is_empty()).await;
    fs::write(&ca, authority(cluster).await).unwrap();
    fs::write(&file, token).unwrap();
    let scrapes = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [folder().join("alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "bpfman-controller", "scheme": "https",
                "authorization": { "credentials_file": file },
                "tls_config": { "ca_file": ca, "server_name": "bpfman-admission.bpfman.svc" },
                "static_configs": [{ "targets": ["127.0.0.1:8443"] }],
            },
            {
                "job_name": "bpfman-agent", "scheme": "https",
                "authorization": { "credentials_file": file },
                // Like the agent's ServiceMonitor: no client trusts its self-made certificate.
                "tls_config": { "insecure_skip_verify": true },
                "static_configs": [{ "targets": [agent] }],
            },
            { "job_name": "bpfman", "static_configs": [{ "targets": ["127.0.0.1:9464"] }] },
        ],
    });
    scrapes.to_string()
}

#[tokio::test]
async fn every_expression_about_the_operator_gives_data() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    rights(&cluster).await;
    configure(&cluster).await;
    let controller = controller_with(&cluster, "--metrics-bind-address=127.0.0.1:8443", &[], &[]).await;
    let daemon = daemon(&cluster, "watched").await;
    let agent = agent(&cluster, "watched", &daemon.socket());
    let program = json!([xdp("xdp_member", &["up0"], 10)]);
    let made = cluster.apply_one(application("guard", &compile::object("chain"), program)).await;
    until_success(&cluster, &made).await;
    let prometheus = Prometheus::start(&cluster.netns(), &config(&cluster, &metrics(&agent).await).await);
    prometheus.until_scraped(3);

    let rules: Value =
        serde_norway::from_str(&fs::read_to_string(folder().join("alerts.yaml")).unwrap()).unwrap();
    let mut expressions = dashboard_expressions("10s");
    expressions.extend(alert_expressions(&rules));
    expressions.retain(ShippedExpression::needs_operator);
    assert!(expressions.len() > 10, "{} expressions", expressions.len());
    prometheus.until_all_give_data(&expressions);
    let nodes = prometheus.query("bpfman_application_nodes{name=\"guard\",state=\"healthy\"}");
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(prometheus.query("process_resident_memory_bytes > 0").len(), 3);
    drop((agent, controller));
}

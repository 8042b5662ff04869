//! Number of requests to a registry.

use std::path::Path;

use bpfman_cluster_tests::{Cluster, Operator, wait};
use bpfman_tests::proxy::Proxy;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, compile};
use serde_json::{Value, json};

use super::equipment::{agent, application, until_state, until_success};

fn always(name: &str, image: &str) -> Value {
    let program = json!([{ "name": "xdp_member", "type": "XDP", "xdp": {} }]);
    let mut written = application(name, Path::new("/nowhere"), program);
    written["spec"]["byteCode"] = json!({ "image": { "url": image, "imagePullPolicy": "Always" } });
    written
}

async fn look_again(cluster: &Cluster, agent: &Operator, application: &str, times: usize) {
    let looks = || {
        let log = agent.log();
        log.lines().filter(|line| line.contains(" reconciled ") && line.contains(application)).count()
    };
    for number in 0..times {
        let before = looks();
        cluster.node("registries", &[("zone", "one"), ("look", &number.to_string())]).await;
        wait::until("it is looked at", async || looks() > before).await;
    }
}

#[tokio::test]
async fn a_registry_is_asked_once_for_a_version_and_not_at_each_look() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    let registry = Registry::start();
    let counted = Proxy::start(registry.address());
    // The registry is in the test's own namespace, so that the daemon has to be there too.
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    let object = compile::object("chain").display().to_string();
    let pushed = registry.image("team/counted:1");
    daemon.bpfman(&format!("image build -t {pushed} -b {object}")).success();
    daemon.bpfman(&format!("image push {pushed}")).success();
    cluster.node("registries", &[("zone", "one")]).await;
    let agent = agent(&cluster, "registries", &daemon.socket());

    let image = format!("{}/team/counted:1", counted.address());
    let made = cluster.apply_one(always("counted", &image)).await;
    until_success(&cluster, &made).await;
    let asked = counted.requests().len();
    assert!(asked > 0);
    look_again(&cluster, &agent, "counted", 5).await;
    assert_eq!(counted.requests().len(), asked, "{:?}", counted.requests());

    // Another generation is another version.
    let mut other = always("counted", &image);
    other["spec"]["programs"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "tcx_member", "type": "TCX", "tcx": {} }));
    let made = cluster.apply_one(other).await;
    until_success(&cluster, &made).await;
    assert!(counted.requests().len() > asked);

    // A missing image is requested with increasing delays, not at each reconciliation.
    let missing = format!("{}/team/missing:1", counted.address());
    cluster.apply_one(always("missing", &missing)).await;
    let failed = until_state(&cluster, "missing", "it is not there", |status| {
        status["conditions"][0]["reason"] == "Error"
    })
    .await;
    let tries = || counted.requests().iter().filter(|request| request.contains("team/missing")).count();
    let first = tries();
    let looks = 40;
    look_again(&cluster, &agent, "missing", looks).await;
    assert!(tries() < first * looks / 2, "{:?}", counted.requests());
    let state = super::equipment::states(&cluster, "missing").await.remove(0);
    let message = |status: &Value| status["conditions"][0]["message"].clone();
    assert_eq!(
        message(&state.data["status"]),
        message(&failed.data["status"]),
        "what is said stays the same"
    );
}

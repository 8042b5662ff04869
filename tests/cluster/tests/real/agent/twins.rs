//! Two machines with the same node name.

use bpfman_cluster_tests::wait;
use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, Launch, compile};
use serde_json::json;

use super::equipment::{agent, application, links, start, until_state, until_success, xdp};

#[tokio::test]
async fn two_machines_of_one_name_keep_programs_and_spare_the_server() {
    let Some((cluster, node, first)) = start("twins").await else { return };
    let (network, outside) = (Namespace::new("twin"), Namespace::new("outside"));
    let peer = outside.path().display().to_string();
    network.ip(&["link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", &peer]);
    network.ip(&["link", "set", "up0", "up"]);
    let wrapper = vec!["nsenter".to_owned(), format!("--net={}", network.path().display())];
    let twin = Daemon::start_with(&Launch { wrapper, ..Launch::default() });
    let object = compile::object("chain");
    let written = application("twins", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written).await;
    until_success(&cluster, &made).await;

    // Program ids differ between the machines: each agent writes its own, and the other finds them changed.
    let mark = cluster.mark();
    let second = agent(&cluster, "twins", &twin.socket());
    let suspects = |log: String| log.contains("its state is written too often");
    wait::until("one of them suspects it", async || suspects(first.log()) || suspects(second.log())).await;
    until_state(&cluster, "twins", "whoever looks at it is told", |status| {
        let message = status["conditions"][0]["message"].as_str().unwrap_or_default();
        message.ends_with("does another machine have this node's name?")
    })
    .await;
    let requests = cluster.requests_since(mark);
    let writes =
        requests.iter().filter(|request| request.writes() && request.resource.ends_with("states/status"));
    let count = writes.count();
    assert!(count <= 50, "{count} writes");
    let of_twin = twin.bpfman("list links -o json").json();
    assert_eq!((links(&node).len(), of_twin["links"].as_array().unwrap().len()), (1, 1));
}

//! The operator's own programs with everything packaged in force: permissions, webhooks, the admission policy.

use bpfman_cluster_tests::tokens::token;
use bpfman_cluster_tests::{Node, Operator, wait};
use bpfman_tests::compile;
use kube::api::{DeleteParams, DynamicObject};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::policies;
use crate::admission::{NAMESPACE, configure, controller, until_reviewed};
use crate::agent::equipment::{application, links, objects, programs, states, until_success, xdp};

#[tokio::test]
async fn agent_and_controller_are_refused_nothing_that_they_do() {
    let Some((cluster, _tokens)) = policies::start().await else { return };
    let start = cluster.mark();
    configure(&cluster).await;
    let _controller = controller(&cluster, &["--admission-failure-policy=closed"]).await;
    until_reviewed(&cluster).await;
    let node = Node::start(&cluster, "one", &[("zone", "one")]).await;
    node.add_interface("up0");
    let agent = Operator::start(
        &cluster,
        "agent",
        &cluster.kubeconfig_with(&token(NAMESPACE, "bpfman-agent", Some("one"))),
        &[
            "--node-name=one".to_owned(),
            format!("--daemon-socket={}", node.daemon.socket().display()),
            "--health-probe-bind-address=127.0.0.1:0".to_owned(),
            "--metrics-bind-address=0".to_owned(),
        ],
        &[("BPFMAN_LOG", "info,bpfman_operator=debug")],
    );

    let object = compile::object("chain");
    let first =
        cluster.apply_one(application("life", &object, json!([xdp("xdp_member", &["up0"], 50)]))).await;
    let state = until_success(&cluster, &first).await;
    assert_eq!(links(&node).len(), 1);
    // Managed fields record the subresource.
    let managers = state.metadata.managed_fields.unwrap();
    assert!(managers.iter().any(|entry| entry.subresource.as_deref() == Some("status")), "{managers:?}");
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    until_summed_up(&applications, &first).await;

    let edited =
        cluster.apply_one(application("life", &object, json!([xdp("xdp_member", &["up0"], 70)]))).await;
    until_success(&cluster, &edited).await;
    let mut rolled = application("life", &object, json!([xdp("xdp_another", &["up0"], 70)]));
    rolled["spec"]["rollout"] = json!({});
    let rolled = cluster.apply_one(rolled).await;
    until_summed_up(&applications, &rolled).await;
    wait::until("the new program runs", async || programs(&node) == ["xdp_another"]).await;
    let ordered = states(&cluster, "life").await.remove(0);
    assert!(ordered.annotations().contains_key("bpfman.io/revision"), "{:?}", ordered.metadata);

    // The node is deselected, then the application is deleted: no finalizer blocks the objects.
    cluster.node("one", &[("zone", "two")]).await;
    wait::until("the state object is gone", async || states(&cluster, "life").await.is_empty()).await;
    assert_eq!(programs(&node), [""; 0]);
    cluster.node("one", &[("zone", "one")]).await;
    wait::until("it is attached again", async || links(&node).len() == 1).await;
    applications.delete("life", &DeleteParams::default()).await.unwrap();
    // State objects are deleted here, because there is no garbage collector.
    for state in states(&cluster, "life").await {
        let api = objects(&cluster, "ClusterBpfApplicationState").await;
        api.delete(&state.name_any(), &DeleteParams::default()).await.unwrap();
    }
    wait::until("all is gone", async || {
        states(&cluster, "life").await.is_empty() && programs(&node).is_empty()
    })
    .await;
    // None of the requests uses a deprecated API. To check that the server marks them, the test makes one itself.
    cluster.kubectl(&["get", "endpoints"]).success();
    let requests = cluster.requests_since(start);
    let deprecated: Vec<_> = requests.iter().filter(|request| request.is_deprecated).collect();
    let resources: Vec<&str> = deprecated.iter().map(|request| &*request.resource).collect();
    assert!(
        !resources.is_empty() && resources.iter().all(|&resource| resource == "endpoints"),
        "{deprecated:?}"
    );
    assert!(deprecated.iter().all(|request| request.user == "test-admin"), "{deprecated:?}");
    let log = agent.log();
    assert!(!log.contains("ValidatingAdmissionPolicy") && !log.contains("admission webhook"), "{log}");
}

async fn until_summed_up(applications: &Api<DynamicObject>, application: &DynamicObject) {
    let generation = application.metadata.generation;
    wait::until("the controller sums up", async || {
        let now = applications.get(&application.name_any()).await.unwrap();
        let condition = &now.data["status"]["conditions"][0];
        condition["type"] == "Success" && condition["observedGeneration"].as_i64() == generation
    })
    .await;
}

//! API servers without the definitions, or with those of another version.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::compile;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::equipment::{
    agent, application, condition, links, probes, programs, start, states, until_state, until_success, xdp,
};
use crate::upgrade::published;

fn readiness(cluster: &Cluster, address: &str) -> String {
    let address = address.to_owned();
    cluster.inside(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

async fn until_logged(operator: &Operator, words: &str) {
    wait::until(&format!("it logs `{words}`"), async || operator.log().contains(words)).await;
}

#[tokio::test]
async fn missing_definitions_are_named_and_work_begins_when_they_come() {
    let Some(cluster) = Cluster::undefined() else { return };
    cluster.namespace("bpfman").await;
    let node = Node::start(&cluster, "definitions", &[("zone", "one")]).await;
    node.add_interface("up0");
    let flags = [
        "--no-deploy",
        "--assume-agents",
        "--health-probe-bind-address=127.0.0.1:8175",
        "--metrics-bind-address=0",
    ];
    let controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags, &[]);
    let first = agent(&cluster, "definitions", &node.daemon.socket());
    let missing = "ClusterBpfApplication objects (the API server knows no such kind: are the custom resource definitions";
    let address = probes(&first).await;
    wait::until("the agent says what is missing", async || {
        let answer = readiness(&cluster, &address);
        answer.contains("503") && answer.contains(missing)
    })
    .await;
    until_logged(&first, "`bpfman-operator crds` prints them").await;
    until_logged(&controller, "the API server knows no such kind").await;
    wait::until("the controller says what is missing", async || {
        let answer = readiness(&cluster, "127.0.0.1:8175");
        answer.contains("503") && answer.contains("applications: the API server knows")
    })
    .await;

    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    for definition in bpfman_application::crd::all() {
        let name = definition.metadata.name.clone().unwrap();
        let older = published(&definition);
        let params = PatchParams::apply("bpfman-tests").force();
        definitions.patch(&name, &params, &Patch::Apply(&older)).await.unwrap();
    }
    wait::until("the agent is ready", async || readiness(&cluster, &address).contains("200 OK")).await;
    wait::until("the controller is ready", async || readiness(&cluster, "127.0.0.1:8175").contains("200 OK"))
        .await;
    let object = compile::object("chain");
    let written = application("definitions", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written).await;
    let state = until_success(&cluster, &made).await;
    assert!(state.data["status"]["kernel"].is_null(), "{:?}", state.data);
    assert_eq!(links(&node).len(), 1);
    until_logged(&first, "does not keep all fields").await;

    // Fields that the server drops must not cause repeated writes.
    let mark = cluster.mark();
    for number in 0..5 {
        let looks = || first.log().matches(" reconciled ").count();
        let before = looks();
        cluster.node("definitions", &[("zone", "one"), ("look", &number.to_string())]).await;
        wait::until("it is looked at", async || looks() > before).await;
    }
    let requests = cluster.requests_since(mark);
    let writes: Vec<_> = requests
        .iter()
        .filter(|request| request.writes() && request.resource.starts_with("clusterbpfapplicationstates"))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");

    // With the project's definitions all fields are written, by the next agent at the latest.
    cluster.apply_definitions().await;
    drop(first);
    let _second = agent(&cluster, "definitions", &node.daemon.socket());
    until_state(&cluster, "definitions", "the kernel is named", |status| status["kernel"].is_string()).await;
    assert_eq!((states(&cluster, "definitions").await.len(), links(&node).len()), (1, 1));
}

#[tokio::test]
async fn fields_of_newer_definitions_are_reported_by_an_old_agent() {
    let Some((cluster, node, _agent)) = start("newer").await else { return };
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await);
    let name = "clusterbpfapplications.bpfman.io";
    let mut newer = serde_json::to_value(definitions.get(name).await.unwrap().spec).unwrap();
    let program = "/versions/0/schema/openAPIV3Schema/properties/spec/properties/programs/items/properties";
    let program = newer.pointer_mut(program).unwrap();
    program["type"]["enum"].as_array_mut().unwrap().push(json!("PageFault"));
    program["pageFault"] = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let change = Patch::Merge(json!({ "spec": newer }));
    definitions.patch(name, &PatchParams::default(), &change).await.unwrap();
    let object = compile::object("chain");
    let faults = json!([{ "name": "on_fault", "type": "PageFault", "pageFault": { "cgroup": "/" } }]);
    wait::until("the newer type is taken", async || {
        cluster.try_apply(application("newer", &object, faults.clone())).await.is_ok()
    })
    .await;
    let state =
        until_state(&cluster, "newer", "it is said", |status| status["conditions"][0]["reason"] == "Error")
            .await;
    let message = condition(&state).1;
    assert!(
        message.contains("PageFault") && message.contains("is the agent older than the definitions?"),
        "{message}"
    );
    assert_eq!(programs(&node), [""; 0]);

    let written = application("known", &object, json!([xdp("xdp_member", &["up0"], 50)]));
    let made = cluster.apply_one(written).await;
    until_success(&cluster, &made).await;
    cluster.node("newer", &[("zone", "two")]).await;
    wait::until("nothing is said where it is not meant", async || {
        states(&cluster, "newer").await.is_empty() && programs(&node).is_empty()
    })
    .await;
}

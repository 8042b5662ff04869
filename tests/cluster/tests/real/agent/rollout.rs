//! Orders of the controller to a node by annotations, and the node's reports.

use bpfman_cluster_tests::{Cluster, wait};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Daemon, Launch, Outcome, binaries, compile};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::equipment::{
    agent, application, condition, links, objects, programs, start, until_state, until_success, xdp,
};

fn revision(name: &str, spec: &Value) -> Value {
    let mut data = spec.clone();
    data.as_object_mut().unwrap().remove("rollout");
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": { "name": name, "namespace": "bpfman" }, "revision": 1, "data": data,
    })
}

async fn order(states: &Api<DynamicObject>, state: &DynamicObject, annotations: Value) {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    states.patch(&state.name_any(), &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_node_acts_only_on_what_the_controller_ordered() {
    let Some((cluster, node, _agent)) = start("rollout").await else { return };
    cluster.namespace("bpfman").await;
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let mut written = application("waves", &compile::object("broken"), json!([xdp("sound", &["up0"], 50)]));
    let gates = json!({ "maxErrors": 0, "verdicts": [{ "verdict": "drop", "maxPercent": 1 }] });
    written["spec"]["rollout"] = json!({ "soakSeconds": 1, "gates": gates });
    cluster.apply_one(revision("good", &written["spec"])).await;
    let mut bad = written["spec"].clone();
    bad["programs"][0]["name"] = json!("broken");
    cluster.apply_one(revision("bad", &bad)).await;
    cluster.apply_one(written.clone()).await;

    // The agent creates the state object that will get the orders, reports its preflight group, and waits.
    let state = until_state(&cluster, "waves", "it waits", |status| {
        status["conditions"][0]["reason"] == "Pending"
            && status["composition"].is_null()
            && status["kernel"].is_string()
    })
    .await;
    assert_eq!(state.data["status"]["appLoadStatus"], "NotLoaded");
    assert_eq!(programs(&node), [""; 0]);

    order(&states, &state, json!({ "bpfman.io/preflight": "bad" })).await;
    let tried = until_state(&cluster, "waves", "the bad one is refused", |status| {
        status["preflight"]["revision"] == "bad"
    })
    .await;
    let answer = &tried.data["status"]["preflight"];
    assert_eq!(answer["verdict"], "Failed");
    assert!(answer["message"].as_str().unwrap().contains("invalid access to map value"), "{answer}");
    order(&states, &state, json!({ "bpfman.io/preflight": "good" })).await;
    let tried = until_state(&cluster, "waves", "the good one passes", |status| {
        status["preflight"]["revision"] == "good"
    })
    .await;
    assert_eq!(tried.data["status"]["preflight"]["verdict"], "Passed", "{:?}", tried.data);
    assert_eq!(programs(&node), [""; 0]);

    order(&states, &state, json!({ "bpfman.io/preflight": null })).await;
    until_state(&cluster, "waves", "the answer is gone", |status| status["preflight"].is_null()).await;
    order(&states, &state, json!({ "bpfman.io/preflight": "good" })).await;
    until_state(&cluster, "waves", "it is answered again", |status| {
        status["preflight"]["verdict"] == "Passed"
    })
    .await;

    // The agent runs the ordered revision, whatever the current spec is.
    order(&states, &state, json!({ "bpfman.io/preflight": null, "bpfman.io/revision": "good" })).await;
    let runs = |status: &Value| {
        status["observedRevision"] == "good" && status["conditions"][0]["reason"] == "Success"
    };
    until_state(&cluster, "waves", "it runs", runs).await;
    assert_eq!(programs(&node), ["sound"]);
    written["spec"]["programs"] = bad["programs"].clone();
    cluster.apply_one(written).await;
    // A preflight result shows that the agent has seen the change; the condition is still about the revision.
    order(&states, &state, json!({ "bpfman.io/preflight": "bad" })).await;
    let after = until_state(&cluster, "waves", "it has seen the change", |status| {
        runs(status) && status["preflight"]["revision"] == "bad"
    })
    .await;
    assert!(after.data["status"]["conditions"][0]["observedGeneration"].is_null(), "{:?}", after.data);
    assert_eq!(programs(&node), ["sound"]);

    order(&states, &state, json!({ "bpfman.io/soak": "good" })).await;
    let soaked = until_state(&cluster, "waves", "its health is known", |status| {
        status["health"]["revision"] == "good"
    })
    .await;
    assert_eq!(soaked.data["status"]["health"]["within"], true, "{:?}", soaked.data);
    assert_eq!(links(&node).len(), 1);
}

#[tokio::test]
async fn preflight_needs_no_rollout() {
    let Some((cluster, node, _agent)) = start("rehearsed").await else { return };
    cluster.namespace("bpfman").await;
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let written = application("plain", &compile::object("broken"), json!([xdp("sound", &["up0"], 50)]));
    cluster.apply_one(revision("same", &written["spec"])).await;
    let mut other = written["spec"].clone();
    other["programs"][0]["name"] = json!("broken");
    cluster.apply_one(revision("other", &other)).await;
    let made = cluster.apply_one(written).await;
    let state = until_success(&cluster, &made).await;
    let running = links(&node);
    for (name, verdict) in [("same", "Passed"), ("other", "Failed")] {
        order(&states, &state, json!({ "bpfman.io/preflight": name })).await;
        let tried = until_state(&cluster, "plain", "it is answered", |status| {
            status["preflight"]["revision"] == name
        })
        .await;
        assert_eq!(tried.data["status"]["preflight"]["verdict"], verdict, "{:?}", tried.data);
        assert_eq!(condition(&tried).0, "Success");
        assert_eq!((programs(&node), links(&node)), (vec!["sound".to_owned()], running.clone()));
    }
    order(&states, &state, json!({ "bpfman.io/preflight": null })).await;
    until_state(&cluster, "plain", "the answer is gone", |status| status["preflight"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_checked_before_it_is_applied() {
    let Some((cluster, node, _agent)) = start("checked").await else { return };
    cluster.namespace("bpfman").await;
    let check = async |manifest: &Value, words: &str| {
        let path = node.daemon.path("manifest.yaml");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let mut command = cluster.command(binaries::find("kubectl-bpfman"));
        command
            .args(["check", "-f"])
            .arg(path)
            .args(words.split(' '))
            .env("KUBECONFIG", cluster.kubeconfig());
        // The agent must keep running meanwhile.
        tokio::task::spawn_blocking(move || Outcome::of(&mut command)).await.unwrap()
    };
    let words = "--operator-namespace bpfman --timeout 60 -o json";
    let good = application("new", &compile::object("broken"), json!([xdp("sound", &["up0"], 50)]));
    let passed: Value = serde_json::from_str(&check(&good, words).await.success()).unwrap();
    let told = (&passed["application"], &passed["kernels"][0]["node"], &passed["kernels"][0]["verdict"]);
    assert_eq!(told, (&json!("new"), &json!("checked"), &json!("Passed")), "{passed}");
    let mut bad = good.clone();
    bad["spec"]["programs"][0]["name"] = json!("broken");
    let refused = check(&bad, words).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("invalid access to map value"), "{refused:?}");
    let (mut unknown, mut elsewhere) = (good.clone(), good.clone());
    unknown["spec"]["programms"] = json!([]);
    check(&unknown, words).await.fails(6, &["programms"]);
    elsewhere["spec"]["nodeSelector"] = json!({ "matchLabels": { "zone": "nowhere" } });
    check(&elsewhere, words).await.fails(5, &["`new` is for no node"]);
    assert_eq!((programs(&node), links(&node).len()), (Vec::<String>::new(), 0));
    let applications = objects(&cluster, "ClusterBpfApplication").await;
    wait::until("the applications are gone", async || {
        applications.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    let left = cluster.kubectl(&["get", "controllerrevisions", "-A", "-o", "name"]);
    assert!(!left.stdout.contains("check-"), "{}", left.stdout);
}

#[tokio::test]
async fn a_tag_that_is_pinned_to_its_digest_is_what_runs_already() {
    let Some(cluster) = Cluster::own() else { return };
    cluster.apply_definitions().await;
    cluster.namespace("bpfman").await;
    let registry = Registry::start();
    // The registry is in the test's own namespace, so that the daemon has to be there too.
    let daemon = Daemon::start_with(&Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() });
    let url = registry.image("team/pinned:1");
    let object = compile::object("chain").display().to_string();
    daemon.bpfman(&format!("image build -t {url} -b {object}")).success();
    daemon.bpfman(&format!("image push {url}")).success();
    cluster.node("pinned", &[("zone", "one")]).await;
    let _agent = agent(&cluster, "pinned", &daemon.socket());
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let ids = || {
        let list = daemon.bpfman("list programs -o json").json();
        let all = list["programs"].as_array().unwrap().iter();
        all.map(|program| program["program_id"].as_u64().unwrap()).collect::<Vec<_>>()
    };

    let program = json!([{ "name": "xdp_member", "type": "XDP", "xdp": {} }]);
    let mut written = application("pinned", &compile::object("chain"), program);
    written["spec"]["byteCode"] = json!({ "image": { "url": url, "imagePullPolicy": "Always" } });
    written["spec"]["rollout"] = json!({});
    cluster.apply_one(revision("tagged", &written["spec"])).await;
    cluster.apply_one(written.clone()).await;
    let state =
        until_state(&cluster, "pinned", "it waits", |status| status["conditions"][0]["reason"] == "Pending")
            .await;
    let told_to_run = async |name: &str| {
        order(&states, &state, json!({ "bpfman.io/revision": name })).await;
        until_state(&cluster, "pinned", "it runs", |status| {
            status["observedRevision"] == name && status["conditions"][0]["reason"] == "Success"
        })
        .await
    };
    let tagged = told_to_run("tagged").await;
    let (digest, running) = (tagged.data["status"]["digest"].as_str().unwrap().to_owned(), ids());
    assert_eq!(running.len(), 1);

    let mut spec = written["spec"].clone();
    spec["byteCode"]["image"]["url"] = json!(registry.image(&format!("team/pinned@{digest}")));
    cluster.apply_one(revision("by-digest", &spec)).await;
    let pinned = told_to_run("by-digest").await;
    assert_eq!(pinned.data["status"]["digest"], digest);
    assert_eq!(ids(), running, "nothing was loaded again");
    told_to_run("tagged").await;
    assert_eq!(ids(), running);

    // Any difference other than the image's digest makes another version.
    spec["byteCode"]["image"]["imagePullPolicy"] = json!("IfNotPresent");
    cluster.apply_one(revision("by-digest-once", &spec)).await;
    told_to_run("by-digest-once").await;
    assert!(ids().len() == 1 && ids() != running);
}

#[tokio::test]
async fn switches_set_for_a_soak_are_reset_by_the_next_agent() {
    let Some((cluster, node, mut first)) = start("soaks").await else { return };
    cluster.namespace("bpfman").await;
    let states = objects(&cluster, "ClusterBpfApplicationState").await;
    let mut written = application("soaked", &compile::object("broken"), json!([xdp("sound", &["up0"], 50)]));
    written["spec"]["rollout"] = json!({ "gates": { "maxNanosecondsPerRun": 1_000_000 } });
    cluster.apply_one(revision("timed", &written["spec"])).await;
    cluster.apply_one(written).await;
    let state = until_state(&cluster, "soaked", "it waits", |status| status.is_object()).await;
    order(&states, &state, json!({ "bpfman.io/revision": "timed" })).await;
    until_state(&cluster, "soaked", "it runs", |status| status["conditions"][0]["reason"] == "Success").await;
    let switches = || {
        let shown = node.daemon.bpfman("chain show xdp:up0 -o json").json();
        [shown["counters"].as_bool().unwrap(), shown["timing"].as_bool().unwrap()]
    };
    let before = switches();
    assert!(!before[1]);
    order(&states, &state, json!({ "bpfman.io/soak": "timed" })).await;
    let soaks = until_state(&cluster, "soaked", "its health is known", |status| {
        status["health"]["revision"] == "timed"
    })
    .await;
    assert_eq!(soaks.data["status"]["switched"][0]["interface"], "up0", "{:?}", soaks.data);
    assert_eq!(switches(), [true, true]);
    first.kill();
    order(&states, &state, json!({ "bpfman.io/soak": null })).await;
    let _second = agent(&cluster, "soaks", &node.daemon.socket());
    until_state(&cluster, "soaked", "it is switched off", |status| status["switched"].is_null()).await;
    assert_eq!(switches(), before);
}

//! Status that appliers such as Flux read from objects, by the rules of `kstatus`.

use std::process::Command;

use bpfman_application::application::ClusterBpfApplication;
use bpfman_application::condition::{Conditions, Readiness, unseen};
use bpfman_application::config::Config;
use bpfman_cluster_tests::{Operator, wait};
use bpfman_tests::Outcome;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde::Serialize;
use serde_json::{Value, json};

use super::deployment::{FLAGS, IMAGES, config_for};
use super::{SUMS, answer, application, applications, cluster, condition, controller, say, states};

/// Returns the status of an object of any custom kind, by the rules of
/// <https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus/status>: deletion, generation, then the standard conditions.
fn kstatus(object: &impl Serialize) -> &'static str {
    let object = serde_json::to_value(object).unwrap();
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let is = |type_: &str| {
        let mut all = status["conditions"].as_array().into_iter().flatten();
        all.find(|condition| condition["type"] == type_)
            .map(|condition| condition["status"].as_str().unwrap().to_owned())
    };
    if !metadata["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    if !status["observedGeneration"].is_null() && status["observedGeneration"] != metadata["generation"] {
        return "InProgress";
    }
    match (is("Reconciling").as_deref(), is("Stalled").as_deref(), is("Ready").as_deref()) {
        (Some("True"), _, _) => "InProgress",
        (_, Some("True"), _) => "Failed",
        (_, _, Some("False" | "Unknown")) => "InProgress",
        _ => "Current",
    }
}

async fn until(applications: &Api<ClusterBpfApplication>, what: &str, expected: &str) {
    wait::until(&format!("{what}: {expected}"), async || {
        kstatus(&applications.get("guard").await.unwrap()) == expected
    })
    .await;
}

#[tokio::test]
async fn application_is_in_progress_until_it_runs_or_fails() {
    let Some(cluster) = cluster().await else { return };
    cluster.node("n1", &[("tier", "edge")]).await;
    let uid = application(&cluster, "guard", json!({ "matchLabels": { "tier": "edge" } })).await;
    let all = applications(&cluster).await;
    assert_eq!(kstatus(&all.get("guard").await.unwrap()), "InProgress", "no controller has looked at it");

    let mut running = controller(&cluster, &SUMS);
    answer(&cluster, ("guard", &uid), "n1", json!({ "conditions": [condition("Pending")] })).await;
    until(&all, "its node is at work", "InProgress").await;
    let states = states(&cluster).await;
    say(&states, "guard-n1", "n1", json!({})).await;
    until(&all, "its node is done", "Current").await;
    let failure =
        json!({ "reason": "kernel-refused", "message": "R1 invalid mem access", "program": "pass" });
    let failed = json!({ "conditions": [condition("Error")], "failure": failure });
    say(&states, "guard-n1", "n1", failed).await;
    until(&all, "its node failed", "Failed").await;
    let said = all.get("guard").await.unwrap().status.unwrap().conditions;
    let stalled = said.iter().find(|condition| condition.type_ == "Stalled").unwrap();
    assert!(
        stalled.message.contains("R1 invalid mem access"),
        "the message is what people are shown: {said:?}"
    );
    say(&states, "guard-n1", "n1", json!({ "failure": null })).await;
    until(&all, "it was mended", "Current").await;

    // An edited object is immediately in progress, whether or not a controller runs.
    running.terminate();
    let edit = json!({ "spec": { "byteCode": { "image": { "url": "quay.io/bpfman-bytecode/pass:v2" } } } });
    let edited = all.patch("guard", &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    assert_eq!(kstatus(&edited), "InProgress");
    let _running = controller(&cluster, &SUMS);
    say(&states, "guard-n1", "n1", json!({ "observedRevision": "2" })).await;
    until(&all, "its node has the new version", "Current").await;
    all.delete("guard", &DeleteParams::default()).await.unwrap();
    until(&all, "its node still has it", "Terminating").await;
}

#[tokio::test]
async fn config_is_failed_if_invalid_and_in_progress_until_pods_run() {
    let Some(cluster) = cluster().await else { return };
    config_for(&cluster, "nowhere").await;
    let configs: Api<Config> = Api::all(cluster.client().await);
    let now = async || configs.get("bpfman-config").await.unwrap();
    let _controller = Operator::start(&cluster, "controller", &cluster.kubeconfig(), &FLAGS, &IMAGES);
    wait::until("its namespace is missing: Failed", async || kstatus(&now().await) == "Failed").await;
    cluster.namespace("nowhere").await;
    // The test has no scheduler, so no pod ever runs.
    wait::until("it was applied: InProgress", async || kstatus(&now().await) == "InProgress").await;
}

fn argo_script(kind: &str) -> String {
    let page = include_str!("../../../../../docs/cluster-installation.md");
    let start = page.find("```yaml\nresource.customizations").expect("the page has it") + "```yaml\n".len();
    let block = &page[start..start + page[start..].find("```").unwrap()];
    let entry: Value = serde_norway::from_str(block).unwrap();
    let all: Value = serde_norway::from_str(entry["resource.customizations"].as_str().unwrap()).unwrap();
    all[format!("bpfman.io/{kind}")]["health.lua"].as_str().unwrap().to_owned()
}

fn in_lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(in_lua).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("[{name:?}]={}", in_lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

fn judged(script: &str, object: &Value) -> String {
    let program = format!(
        "local obj = {}\nlocal function judge()\n{script}\nend\nio.write(judge().status)",
        in_lua(object)
    );
    Outcome::of(Command::new("lua5.1").arg("-e").arg(program)).success()
}

#[test]
fn argo_cd_judges_by_the_documented_script_as_kstatus_does() {
    if Outcome::of(Command::new("sh").args(["-c", "command -v lua5.1"])).code != 0 {
        eprintln!("SKIPPED(lua5.1): argo_cd_judges_by_the_documented_script_as_kstatus_does");
        return;
    }
    let make = Conditions { old: &[], generation: 2, now: Timestamp::UNIX_EPOCH };
    let object = |observed: i64, readiness| {
        let verdict = make.one("Pending", true, "Pending", "first".to_owned());
        let conditions: Vec<_> =
            [verdict].into_iter().chain(make.readiness(readiness, "Why", "it is \"so\"")).collect();
        json!({
            "metadata": { "name": "x", "generation": 2 },
            "status": { "observedGeneration": observed, "conditions": conditions },
        })
    };
    let cases = [
        ("Healthy", object(2, Readiness::Ready)),
        ("Progressing", object(2, Readiness::Reconciling)),
        ("Degraded", object(2, Readiness::Stalled)),
        ("Progressing", object(1, Readiness::Ready)),
        ("Progressing", object(1, Readiness::Stalled)),
        ("Progressing", json!({ "metadata": { "generation": 1 }, "status": unseen() })),
    ];
    for kind in ["ClusterBpfApplication", "BpfApplication", "Config"] {
        let script = argo_script(kind);
        for (health, object) in &cases {
            assert_eq!(judged(&script, object), *health, "{kind}: {object}");
            let same = match kstatus(object) {
                "Current" => "Healthy",
                "Failed" => "Degraded",
                _ => "Progressing",
            };
            assert_eq!(same, *health, "{object}");
        }
        assert_eq!(judged(&script, &json!({ "metadata": { "generation": 1 } })), "Progressing");
    }
}

//! While specs are edited, every status that users can see must be about the right spec.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::{Child, Stdio};

use bpfman_application::rollout::RolloutPhase;
use bpfman_cluster_tests::wait;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::fleet::{APPLICATION, Fleet};

struct Witness {
    process: Child,
    file: std::path::PathBuf,
}

impl Witness {
    fn start(fleet: &Fleet) -> Self {
        let file = fleet.cluster.path("witness.json");
        let mut command = fleet.cluster.command("kubectl");
        command.args(["get", "clusterbpfapplication", APPLICATION, "--watch", "-o", "json"]);
        command.env("KUBECONFIG", fleet.cluster.kubeconfig());
        let process = command.stdin(Stdio::null()).stdout(File::create(&file).unwrap()).spawn().unwrap();
        Self { process, file }
    }

    fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).unwrap();
        // The last object may be incomplete.
        serde_json::Deserializer::from_str(&text).into_iter().map_while(Result::ok).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ended_by_itself = self.process.kill();
        let _status = self.process.wait();
    }
}

fn version(url: &str) -> u32 {
    let digits = url.rsplit_once(":v").or_else(|| url.rsplit_once("sha256:")).unwrap().1;
    digits.trim_start_matches('0').parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_of_a_generation_is_a_verdict_on_its_spec() {
    let rollout = json!({ "waves": ["50%"], "soakSeconds": 1 });
    let Some(mut fleet) = Fleet::start(&[("6.1.0", 4)], rollout).await else { return };
    let revisions: Api<ControllerRevision> = Api::namespaced(fleet.cluster.client().await, "bpfman");
    let mut versions = BTreeMap::new();
    let mut note = async || {
        for revision in revisions.list(&ListParams::default()).await.unwrap().items {
            let url = revision.data.unwrap().0["byteCode"]["image"]["url"].as_str().unwrap().to_owned();
            versions.insert(revision.metadata.name.unwrap(), version(&url));
        }
    };
    let witness = Witness::start(&fleet);
    wait::until("the witness sees it", async || !witness.seen().is_empty()).await;

    // One version succeeds, one is rejected, and one is replaced half-way by a version that succeeds.
    let stable = fleet.rollout().await.stable_revision;
    fleet.release(2).await;
    let stable = fleet.until_stable(&stable).await.stable_revision;
    note().await;
    fleet.agents.with(|world| world.refused.insert((super::fleet::image(3), "6.1.0".to_owned())));
    fleet.release(3).await;
    fleet.until_phase(RolloutPhase::Failed).await;
    note().await;
    fleet.release(4).await;
    fleet.until("a wave of it began", |rollout| rollout.wave == 1).await;
    fleet.restart_controller();
    fleet.release(5).await;
    fleet.until_stable(&stable).await;
    note().await;
    wait::until("the verdict is seen", async || {
        let last = witness.seen().pop().unwrap();
        let success = last["status"]["conditions"][0]["type"] == "Success";
        success && last["status"]["observedGeneration"] == last["metadata"]["generation"]
    })
    .await;

    let mut verdicts = BTreeMap::new();
    for object in witness.seen() {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        assert_eq!(status["observedGeneration"], status["conditions"][0]["observedGeneration"], "{status}");
        if status["observedGeneration"] != metadata["generation"] {
            continue;
        }
        let asked = version(object["spec"]["byteCode"]["image"]["url"].as_str().unwrap());
        let of = |field: &str| status["rollout"][field].as_str().map(|name| versions[name]);
        let kind = status["conditions"][0]["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "Success" => {
                assert_eq!(
                    (of("stableRevision"), &status["rollout"]["phase"]),
                    (Some(asked), &json!("Idle"))
                );
                assert_eq!(status["summary"]["updated"], 4, "{status}");
            }
            "Error" => assert_eq!(of("failedRevision"), Some(asked), "{status}"),
            "Pending" => assert_eq!(of("targetRevision"), Some(asked), "{status}"),
            other => panic!("{other}: {status}"),
        }
        verdicts.entry(asked).or_insert_with(Vec::new).push(kind);
    }
    assert!(verdicts[&2].contains(&"Success".to_owned()), "{verdicts:?}");
    assert!(verdicts[&3].contains(&"Error".to_owned()), "{verdicts:?}");
    assert!(!verdicts.get(&4).is_some_and(|all| all.contains(&"Success".to_owned())), "{verdicts:?}");
    assert!(verdicts[&5].contains(&"Success".to_owned()), "{verdicts:?}");
}

//! Simulated agents of many nodes in one task: each executes the orders in its state objects and reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfman_application::orders::NodeOrders;
use bpfman_application::state::application::ClusterBpfApplicationState;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub struct World {
    pub refused: BTreeSet<(String, String)>,
    pub fails: BTreeSet<(String, String)>,
    pub clocks: BTreeMap<String, String>,
    pub slow: BTreeSet<String>,
    pub ran: BTreeMap<String, Vec<String>>,
    pub told: BTreeMap<String, Vec<NodeOrders>>,
}

pub struct Agents {
    pub world: Arc<Mutex<World>>,
    task: tokio::task::JoinHandle<()>,
}

impl Agents {
    pub fn start(client: Client, namespace: &str) -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let (shared, namespace) = (world.clone(), namespace.to_owned());
        let task = tokio::spawn(async move {
            loop {
                let states: Api<ClusterBpfApplicationState> = Api::all(client.clone());
                // Agents ignore outages of the API server.
                let all =
                    states.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
                for state in all {
                    let _looked_again = act(&client, &namespace, &shared, &state).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { world, task }
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.world.lock().unwrap())
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the image of a revision in a state object's orders; `None` if revision or orders were deleted
/// meanwhile, as after a dry run, or if the API server is unavailable.
async fn image(
    client: &Client,
    namespace: &str,
    state: &ClusterBpfApplicationState,
    name: &str,
) -> Option<String> {
    let revisions: Api<ControllerRevision> = Api::namespaced(client.clone(), namespace);
    let Some(revision) = revisions.get_opt(name).await.ok()? else {
        let states: Api<ClusterBpfApplicationState> = Api::all(client.clone());
        let state = states.get_opt(&state.name_any()).await.ok()??;
        let NodeOrders { revision, preflight, soak } = NodeOrders::read(Some(state.annotations()));
        let orders = [revision, preflight, soak];
        assert!(
            !orders.iter().flatten().any(|order| order == name),
            "told to run {name}, which is not there"
        );
        return None;
    };
    let url = revision.data.unwrap().0["byteCode"]["image"]["url"].as_str().unwrap().to_owned();
    // In these tests the digest encodes the tag.
    Some(match url.split_once("@sha256:") {
        Some((bare, digest)) => format!("{bare}:v{}", digest.trim_start_matches('0')),
        None => url,
    })
}

fn digest(image: &str) -> String {
    let number = image.rsplit_once(":v").map_or("0", |(_, number)| number);
    format!("sha256:{number:0>64}")
}

async fn act(
    client: &Client,
    namespace: &str,
    world: &Mutex<World>,
    state: &ClusterBpfApplicationState,
) -> Option<()> {
    let name = state.name_any();
    let orders = NodeOrders::read(Some(state.annotations()));
    {
        let mut world = world.lock().unwrap();
        let told = world.told.entry(name.clone()).or_default();
        if told.last() != Some(&orders) {
            told.push(orders.clone());
        }
    }
    let kernel = state.labels()["kernel"].clone();
    let node = state.labels()["kubernetes.io/hostname"].clone();
    let before = state.status.as_ref().map(|status| status.node.details.clone()).unwrap_or_default();
    let mut status = json!({ "node": node, "kernel": kernel, "updateCount": 1, "programs": [] });
    let clock = world.lock().unwrap().clocks.get(&kernel).cloned();
    let clock = clock.unwrap_or_else(|| "2026-01-02T03:04:05Z".to_owned());
    let mut says = |kind: &str, load: &str| {
        status["appLoadStatus"] = json!(load);
        status["conditions"] = json!([{
            "type": kind, "status": "True", "reason": kind, "message": "said by a test",
            "lastTransitionTime": clock,
        }]);
    };
    says("Pending", "NotLoaded");
    if let Some(revision) = &orders.revision {
        let image = image(client, namespace, state, revision).await?;
        let mut world = world.lock().unwrap();
        let refused = |set: &BTreeSet<(String, String)>| set.contains(&(image.clone(), kernel.clone()));
        let failed = refused(&world.refused) || refused(&world.fails);
        if before.observed_revision.as_ref() != Some(revision) {
            world.ran.entry(name.clone()).or_default().push(image.clone());
        }
        if failed {
            says("Error", "LoadError");
            status["failure"] = json!({ "reason": "kernel-refused", "message": "R1 invalid mem access" });
        } else {
            says("Success", "LoadSuccess");
            status["digest"] = json!(digest(&image));
        }
        status["observedRevision"] = json!(revision);
    }
    if let Some(revision) = &orders.preflight {
        let image = image(client, namespace, state, revision).await?;
        let refused = world.lock().unwrap().refused.contains(&(image.clone(), kernel.clone()));
        status["preflight"] = match refused {
            true => json!({ "revision": revision, "verdict": "Failed", "message": "R1 invalid mem access" }),
            false => json!({ "revision": revision, "verdict": "Passed", "digest": digest(&image) }),
        };
    }
    if let Some(revision) = &orders.soak {
        let image = image(client, namespace, state, revision).await?;
        let slow = world.lock().unwrap().slow.contains(&image);
        let message = if slow { "900 ns per packet, 500 allowed" } else { "180 ns per packet" };
        status["health"] = json!({ "revision": revision, "within": !slow, "message": message });
    }
    write(client, &name, state, status).await;
    Some(())
}

async fn write(client: &Client, name: &str, state: &ClusterBpfApplicationState, status: Value) {
    let before = serde_json::to_value(&state.status).unwrap();
    let fields = status.as_object().unwrap();
    let same = fields.iter().all(|(key, value)| {
        before.get(key) == Some(value)
            || (before.get(key).is_none() && value.as_array().is_some_and(Vec::is_empty))
    });
    if same {
        return;
    }
    let mut patch = status;
    for key in ["failure", "preflight", "health", "digest"] {
        if patch.get(key).is_none() {
            patch[key] = Value::Null;
        }
    }
    let states: Api<ClusterBpfApplicationState> = Api::all(client.clone());
    let patch = Patch::Merge(json!({ "status": patch }));
    match states.patch_status(name, &PatchParams::default(), &patch).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{name}: {error}"),
    }
}

//! Checks after all processes run again.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_cluster_tests::{Node, wait};
use bpfman_tests::kernel;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use serde_json::Value;

use super::wanted::{Place, on_node};
use super::{NAMES, World};

/// Programs of each owner in the daemon, and their attachments.
type Holdings = BTreeMap<String, (BTreeSet<String>, BTreeSet<Place>)>;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn holdings(node: &Node) -> (Holdings, usize) {
    let list = |what: &str| {
        let mut list = node.daemon.bpfman(&format!("list {what} -o json")).json();
        list[what].take().as_array().unwrap().clone()
    };
    let (mut all, mut owners) = (Holdings::new(), BTreeMap::new());
    let programs = list("programs");
    for program in &programs {
        assert_eq!(program["state"], "ok", "{program}");
        let owner = text(&program["metadata"]["bpfman.io/uuid"]);
        owners.insert(program["program_id"].as_u64(), owner.clone());
        let is_new = all.entry(owner).or_default().0.insert(text(&program["name"]));
        assert!(is_new, "loaded twice: {program}");
    }
    for link in list("links") {
        assert_eq!(link["state"], "ok", "{link}");
        let place = (
            text(&link["program_name"]),
            text(&link["attach"]["iface"]),
            link["attach"]["priority"].as_i64().unwrap(),
        );
        let owner = &owners[&link["program_id"].as_u64()];
        assert!(all.get_mut(owner).unwrap().1.insert(place), "attached twice: {link}");
    }
    (all, programs.len())
}

/// Returns whether an application has reached its final state: as requested, or with an abandoned rollout.
fn is_at_rest(object: &DynamicObject) -> bool {
    let (status, generation) = (&object.data["status"], object.metadata.generation);
    let condition = &status["conditions"][0];
    let said = status["observedGeneration"].as_i64() == generation
        && condition["observedGeneration"].as_i64() == generation;
    let asked = object.annotations().contains_key("bpfman.io/rollout");
    let phase = status["rollout"]["phase"].as_str().unwrap_or("Idle");
    let is_success = condition["type"] == "Success" && phase == "Idle";
    let gave_up = condition["type"] == "Error" && status["rollout"]["failedRevision"].is_string();
    said && !asked && (is_success || gave_up && ["Idle", "Failed"].contains(&phase))
}

impl World {
    async fn all(&self) -> (Vec<DynamicObject>, Vec<DynamicObject>) {
        let list = async |api: &Api<DynamicObject>| api.list(&ListParams::default()).await.unwrap().items;
        let applications = [list(&self.cluster_applications).await, list(&self.applications).await].concat();
        let states = [list(&self.cluster_states).await, list(&self.states).await].concat();
        (applications, states)
    }

    /// Deletes state objects of deleted applications unless they have a finalizer, like a garbage collector.
    async fn collect(&self, applications: &[DynamicObject], states: &[DynamicObject]) {
        let uids: BTreeSet<_> = applications.iter().filter_map(kube::ResourceExt::uid).collect();
        for state in states.iter().filter(|state| !uids.contains(&state.owner_references()[0].uid)) {
            let of = super::wanted::head(&state.name_any(), state.namespace().is_some());
            let api = match state.namespace() {
                None => self.cluster_states.clone(),
                Some(_) => {
                    let mut kind = of;
                    kind["kind"] = "BpfApplicationState".into();
                    self.cluster.api_of(&kind).await.unwrap()
                }
            };
            match api.delete(&state.name_any(), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{}: {error}", state.name_any()),
            }
        }
    }

    pub async fn settle(&mut self, round: u64) {
        let mut last = (Vec::new(), Vec::new());
        let mut ended = false;
        let end = std::time::Instant::now() + wait::DEADLINE;
        while !ended {
            last = self.all().await;
            self.collect(&last.0, &last.1).await;
            let names: BTreeSet<_> = last.0.iter().map(kube::ResourceExt::name_any).collect();
            let wanted: BTreeSet<_> = self.wanted.keys().map(|name| (*name).to_owned()).collect();
            ended = names == wanted && last.0.iter().all(is_at_rest) && last.1.len() == last.0.len();
            assert!(
                ended || std::time::Instant::now() < end,
                "round {round}: it does not come to rest: {wanted:?}\n{:#?}\n{:#?}\n{}\n{}",
                last.0,
                last.1,
                self.agent.log(),
                self.controller.log(),
            );
            if !ended {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        self.compare(round, &last.0, &last.1).await;
    }

    /// Compares objects and node without waiting: all reports must be true already.
    async fn compare(&self, round: u64, applications: &[DynamicObject], states: &[DynamicObject]) {
        let (mut held, programs) = holdings(&self.node);
        for application in applications {
            let (name, uid) = (application.name_any(), application.uid().unwrap());
            let own: Vec<_> = states.iter().filter(|state| state.owner_references()[0].uid == uid).collect();
            let [state] = own[..] else { panic!("round {round}: {name} has {} states", own.len()) };
            assert!(state.metadata.deletion_timestamp.is_none(), "round {round}: {name}: {state:#?}");
            let wanted = &self.wanted[NAMES.iter().find(|(known, _)| *known == name).unwrap().0];
            let (has, reason) = (
                held.remove(&state.uid().unwrap()).unwrap_or_default(),
                text(&state.data["status"]["conditions"][0]["reason"]),
            );
            let rollout = &application.data["status"]["rollout"];
            let ought = match wanted.has_rollout {
                false => Some(wanted.on_node()),
                // The result of the rollout must run, even if another version was requested later.
                true => self.revision(&text(&rollout["stableRevision"])).await,
            };
            let said = format!(
                "round {round}: {name}: {reason}, rollout {rollout}, orders {:?}, wanted {wanted:?}",
                state.annotations()
            );
            if let Some(ought) = ought {
                assert_eq!(has, ought, "{said}\n{}", self.agent.log());
                assert_eq!(reason, "Success", "{said}");
                let generation = state.data["status"]["conditions"][0]["observedGeneration"].as_i64();
                assert!(wanted.has_rollout || generation == application.metadata.generation, "{said}");
            }
        }
        assert_eq!(held, Holdings::new(), "round {round}: programs of nobody\n{}", self.agent.log());
        let pins = kernel::pins(&self.node.daemon.fs());
        let starting = |prefix: &str| pins.iter().filter(|pin| pin.starts_with(prefix)).count();
        assert_eq!((starting("pending"), starting("prog_")), (0, programs), "round {round}: {pins:?}");
    }

    async fn revision(&self, name: &str) -> Option<(BTreeSet<String>, BTreeSet<Place>)> {
        if name.is_empty() {
            return None;
        }
        let revisions: Api<ControllerRevision> = Api::namespaced(self.cluster.client().await, "bpfman");
        let data = revisions.get(name).await.unwrap().data.unwrap().0;
        Some(on_node(&data["programs"]))
    }
}

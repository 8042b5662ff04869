//! Cluster with nodes of several kernels, its controller, its simulated agents, and an application.

use std::path::PathBuf;
use std::process::Command;

use bpfman_application::application::ClusterBpfApplication;
use bpfman_application::rollout::{RolloutPhase, RolloutStatus};
use bpfman_application::state::application::ClusterBpfApplicationState;
use bpfman_cluster_tests::{Cluster, Operator, wait};
use bpfman_tests::{Outcome, binaries};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::agents::Agents;

const NAMESPACE: &str = "bpfman";

pub const APPLICATION: &str = "filter";

pub struct Fleet {
    pub cluster: Cluster,
    pub agents: Agents,
    pub controller: Operator,
    pub applications: Api<ClusterBpfApplication>,
}

impl Fleet {
    pub async fn start(kernels: &[(&str, usize)], rollout: Value) -> Option<Self> {
        let cluster = Cluster::own()?;
        cluster.apply_definitions().await;
        cluster.namespace(NAMESPACE).await;
        let client = cluster.client().await;
        let fleet = Self {
            agents: Agents::start(client.clone(), NAMESPACE),
            controller: controller(&cluster, &[]),
            applications: Api::all(client),
            cluster,
        };
        let uid = fleet.apply(1, &json!({ "soakSeconds": 0, "preflight": "Never" })).await;
        for (kernel, count) in kernels {
            for number in 0..*count {
                fleet.join(&uid, kernel, number).await;
            }
        }
        fleet.until("the first version is stable", |rollout| rollout.stable_revision.is_some()).await;
        let all = |fleet: &Self, names: usize| {
            fleet.agents.with(|world| world.ran.values().filter(|ran| ran == &&[image(1)]).count() == names)
        };
        let names = kernels.iter().map(|(_, count)| count).sum();
        wait::until("it is on every node", async || all(&fleet, names)).await;
        let mut rollout = rollout;
        rollout["preflight"] = json!("Always");
        fleet.change(&json!({ "rollout": rollout })).await;
        Some(fleet)
    }

    async fn join(&self, uid: &str, kernel: &str, number: usize) {
        let node = format!("node-{}-{number:02}", kernel.replace('.', "-"));
        self.cluster.node(&node, &[]).await;
        self.cluster.node_runs(&node, kernel, "").await;
        self.cluster
            .apply_one(json!({
                "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
                "metadata": {
                    "name": format!("{APPLICATION}-{node}"),
                    "labels": {
                        "bpfman.io/ownedByProgram": APPLICATION, "kubernetes.io/hostname": node, "kernel": kernel,
                    },
                    "ownerReferences": [{
                        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication",
                        "name": APPLICATION, "uid": uid,
                    }],
                },
            }))
            .await;
    }

    pub async fn apply(&self, version: u32, rollout: &Value) -> String {
        let object = json!({
            "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication",
            "metadata": { "name": APPLICATION },
            "spec": {
                "nodeSelector": {},
                "byteCode": { "image": { "url": image(version) } },
                "programs": [{ "name": "pass", "type": "XDP", "xdp": {} }],
                "rollout": rollout,
            },
        });
        self.cluster.apply_one(object).await.uid().unwrap()
    }

    pub async fn change(&self, spec: &Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.applications.patch(APPLICATION, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn release(&self, version: u32) {
        self.change(&json!({ "byteCode": { "image": { "url": image(version) } } })).await;
    }

    pub async fn rollout(&self) -> RolloutStatus {
        let application = self.applications.get(APPLICATION).await.unwrap();
        application.status.and_then(|status| status.rollout).unwrap_or_default()
    }

    pub async fn until(&self, what: &str, is: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
        wait::some(what, async || Some(self.rollout().await).filter(|rollout| is(rollout))).await
    }

    pub async fn until_phase(&self, phase: RolloutPhase) -> RolloutStatus {
        self.until(&format!("it is {phase:?}"), |rollout| rollout.phase == phase).await
    }

    pub async fn until_stable(&self, old: &Option<String>) -> RolloutStatus {
        self.until("another revision is stable", |rollout| {
            rollout.phase == RolloutPhase::Idle && rollout.stable_revision != *old
        })
        .await
    }

    pub fn ever_ran(&self, version: u32) -> Vec<String> {
        self.agents.with(|world| {
            let ran = world.ran.iter().filter(|(_, ran)| ran.contains(&image(version)));
            ran.map(|(name, _)| name.clone()).collect()
        })
    }

    pub fn run(&self, version: u32) -> usize {
        self.agents.with(|world| world.ran.values().filter(|ran| ran.last() == Some(&image(version))).count())
    }

    pub fn most_orders(&self, revision: &str) -> usize {
        let counts = |told: &Vec<bpfman_application::orders::NodeOrders>| {
            let mut revisions: Vec<_> = told.iter().map(|orders| orders.revision.clone()).collect();
            revisions.dedup();
            revisions.iter().filter(|one| one.as_deref() == Some(revision)).count()
        };
        self.agents.with(|world| world.told.values().map(counts).max().unwrap_or(0))
    }

    pub fn restart_controller(&mut self) {
        self.restart_controller_with(&[]);
    }

    pub fn restart_controller_with(&mut self, environment: &[(&str, &str)]) {
        self.controller.kill();
        self.controller = controller(&self.cluster, environment);
    }

    pub async fn kubectl_bpfman(&self, words: &str) -> Outcome {
        self.kubectl_bpfman_as(&self.cluster.kubeconfig(), words).await
    }

    pub async fn kubectl_bpfman_as(&self, kubeconfig: &std::path::Path, words: &str) -> Outcome {
        let mut command: Command = self.cluster.command(binaries::find("kubectl-bpfman"));
        command.args(words.split(' ')).env("KUBECONFIG", PathBuf::from(kubeconfig));
        tokio::task::spawn_blocking(move || Outcome::of(&mut command)).await.unwrap()
    }

    pub async fn preflight_orders(&self) -> usize {
        let states: Api<ClusterBpfApplicationState> = Api::all(self.cluster.client().await);
        let all = states.list(&ListParams::default()).await.unwrap().items;
        all.iter().filter(|state| state.annotations().contains_key("bpfman.io/preflight")).count()
    }
}

pub fn image(version: u32) -> String {
    format!("quay.io/acme/filter:v{version}")
}

fn controller(cluster: &Cluster, environment: &[(&str, &str)]) -> Operator {
    let flags = [
        "--no-deploy",
        "--assume-agents",
        "--health-probe-bind-address=0",
        "--metrics-bind-address=0",
        "--namespace",
        NAMESPACE,
    ];
    Operator::start(cluster, "controller", &cluster.kubeconfig(), &flags, environment)
}

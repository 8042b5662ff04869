//! Applications are created, edited, rolled out, aborted and deleted while agent, controller and daemon are killed at
//! any time. Once all of them run again, the node runs exactly what the objects specify, and nothing is left of
//! deleted objects: no finalizer, no state object, no program, no pin.
//!
//! Runs two rounds; `make kill-loop-kube` runs 200. `KILL_ROUNDS` and `KILL_SEED` override the defaults.

mod check;
mod wanted;

use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_cluster_tests::{Cluster, Node, Operator};
use bpfman_tests::Launch;
use bpfman_tests::random::{Random, setting};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::agent::equipment::{agent_with, objects};
use wanted::Wanted;

const INTERFACES: [&str; 2] = ["up0", "up1"];
const NAMES: [(&str, bool); 5] =
    [("red", false), ("green", false), ("blue", false), ("shop", true), ("bank", true)];
const NAMESPACE: &str = "team";
const MAX_CHANGES: usize = 6;

struct World {
    cluster: Cluster,
    node: Node,
    launch: Launch,
    agent: Operator,
    controller: Operator,
    cluster_applications: Api<DynamicObject>,
    applications: Api<DynamicObject>,
    cluster_states: Api<DynamicObject>,
    states: Api<DynamicObject>,
    random: Random,
    wanted: BTreeMap<&'static str, Wanted>,
    told: BTreeMap<&'static str, usize>,
}

fn start_agent(cluster: &Cluster, node: &Node) -> Operator {
    agent_with(cluster, &node.name, &node.daemon.socket(), &["--leftover-seconds=1"])
}

fn start_controller(cluster: &Cluster) -> Operator {
    let flags = [
        "--no-deploy",
        "--assume-agents",
        "--health-probe-bind-address=0",
        "--metrics-bind-address=0",
        "--namespace=bpfman",
    ];
    Operator::start(cluster, "controller", &cluster.kubeconfig(), &flags, &[])
}

impl World {
    async fn start(seed: u64) -> Option<Self> {
        let cluster = Cluster::own()?;
        cluster.apply_definitions().await;
        for namespace in ["bpfman", NAMESPACE] {
            cluster.namespace(namespace).await;
        }
        let node = Node::start(&cluster, "killed", &[("zone", "one")]).await;
        INTERFACES.iter().for_each(|name| node.add_interface(name));
        let launch = Launch {
            wrapper: vec!["nsenter".to_owned(), format!("--net={}", node.network.path().display())],
            ..Launch::default()
        };
        Some(Self {
            agent: start_agent(&cluster, &node),
            controller: start_controller(&cluster),
            cluster_applications: objects(&cluster, "ClusterBpfApplication").await,
            applications: objects(&cluster, "BpfApplication").await,
            cluster_states: objects(&cluster, "ClusterBpfApplicationState").await,
            states: objects(&cluster, "BpfApplicationState").await,
            random: Random(seed),
            wanted: BTreeMap::new(),
            told: BTreeMap::new(),
            cluster,
            node,
            launch,
        })
    }

    async fn api(&self, name: &str) -> Api<DynamicObject> {
        match NAMES.iter().any(|(known, is_namespaced)| *known == name && *is_namespaced) {
            false => self.cluster_applications.clone(),
            true => self.cluster.api_of(&wanted::head(name, true)).await.unwrap(),
        }
    }

    async fn change(&mut self) {
        let (name, is_namespaced) = NAMES[self.random.below(NAMES.len())];
        let api = self.api(name).await;
        let Some(present) = api.get_opt(name).await.unwrap() else {
            return self.write(name, is_namespaced, "made").await;
        };
        if present.metadata.deletion_timestamp.is_some() {
            return;
        }
        match self.random.below(8) {
            0 | 1 => {
                api.delete(name, &DeleteParams::default()).await.unwrap();
                self.wanted.remove(name);
                self.count("deleted");
            }
            2 | 3 if self.wanted.get(name).is_some_and(|wanted| wanted.has_rollout) => {
                let word = ["abort", "promote"][self.random.below(2)];
                let annotations = json!({ "metadata": { "annotations": { "bpfman.io/rollout": word } } });
                match api.patch(name, &PatchParams::default(), &Patch::Merge(annotations)).await {
                    Ok(_) => self.count(word),
                    // The application has been deleted meanwhile.
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => panic!("{name}: {error}"),
                }
            }
            _ => self.write(name, is_namespaced, "edited").await,
        }
    }

    async fn write(&mut self, name: &'static str, is_namespaced: bool, what: &'static str) {
        let wanted = Wanted::any(&mut self.random, is_namespaced, self.wanted.get(name));
        let object = wanted.object(name);
        // Server-side apply with a manager of its own: fields that are no longer written are removed.
        self.cluster.apply_one(object).await;
        self.wanted.insert(name, wanted);
        self.count(what);
    }

    fn count(&mut self, what: &'static str) {
        *self.told.entry(what).or_default() += 1;
    }

    async fn kill(&mut self) {
        match self.random.below(3) {
            0 => {
                self.agent.kill();
                self.meanwhile().await;
                self.agent = start_agent(&self.cluster, &self.node);
                self.count("agents killed");
            }
            1 => {
                self.controller.kill();
                self.meanwhile().await;
                self.controller = start_controller(&self.cluster);
                self.count("controllers killed");
            }
            _ => {
                self.node.daemon.kill();
                self.meanwhile().await;
                self.node.daemon.again(&self.launch);
                self.count("daemons killed");
            }
        }
    }

    async fn meanwhile(&mut self) {
        for _ in 0..self.random.below(3) {
            self.change().await;
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(250) as u64)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_agent_controller_and_daemon_leave_the_wanted_state() {
    let rounds = setting("KILL_ROUNDS", 2);
    let seed = setting("KILL_SEED", u64::from(std::process::id()) | 1);
    println!("{rounds} rounds, KILL_SEED={seed}");
    let Some(mut world) = World::start(seed).await else { return };
    for round in 0..rounds {
        for _ in 0..=world.random.below(MAX_CHANGES) {
            world.change().await;
            world.pause().await;
            if world.random.below(2) == 0 {
                world.kill().await;
                world.pause().await;
            }
        }
        world.settle(round).await;
        if round % 10 == 9 {
            println!("{} rounds: {:?}", round + 1, world.told);
        }
    }
    println!("{rounds} rounds: {:?}; nothing was lost or left", world.told);
}

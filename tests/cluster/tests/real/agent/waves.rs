//! Complete rollout: the real controller, two agents with daemons and networks of their own, an image of a registry.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;

use bpfman_cluster_tests::{Cluster, Node, Operator, wait};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Launch, compile};
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::equipment::{agent, application, links, objects, programs, xdp};

pub const REGISTRY: &str = "127.0.0.1:5000";

pub fn lead_to(node: &Node, registry: &str) {
    let listener = node.network.inside(|| TcpListener::bind(REGISTRY).unwrap());
    let registry = registry.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&registry) else { continue };
            let copy = |mut from: TcpStream, mut to: TcpStream| {
                std::thread::spawn(move || {
                    // The client detects a broken connection.
                    let _copied = std::io::copy(&mut from, &mut to);
                    let _gone = to.shutdown(Shutdown::Write);
                });
            };
            copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            copy(server, client);
        }
    });
}

struct Fleet {
    _registry: Registry,
    nodes: Vec<Node>,
    _agents: Vec<Operator>,
    _controller: Operator,
    applications: Api<DynamicObject>,
    states: Api<DynamicObject>,
    cluster: Cluster,
}

impl Fleet {
    async fn start() -> Option<Self> {
        let cluster = Cluster::own()?;
        cluster.apply_definitions().await;
        cluster.namespace("bpfman").await;
        let registry = Registry::start();
        let mut nodes = Vec::new();
        for name in ["wave-a", "wave-b"] {
            let launch = Launch { policy: "mode = \"off\"\n".to_owned(), ..Launch::default() };
            let node = Node::start_with(&cluster, name, &[("zone", "one")], launch).await;
            node.network.ip(&["link", "set", "lo", "up"]);
            node.add_interface("up0");
            lead_to(&node, registry.address());
            nodes.push(node);
        }
        // The client runs in the network of the test, like the registry.
        let push = |image: &str, object: PathBuf| {
            let (daemon, name) = (&nodes[0].daemon, registry.image(image));
            daemon.bpfman(&format!("image build -t {name} -b {}", object.display())).success();
            daemon.bpfman(&format!("image push {name}")).success();
        };
        push("team/filter:1", compile::object("chain"));
        push("team/filter:2", compile::object("broken"));
        let agents = nodes.iter().map(|node| agent(&cluster, &node.name, &node.daemon.socket())).collect();
        let flags = ["--no-deploy", "--assume-agents", "--health-probe-bind-address=0"];
        let flags = flags.iter().chain(&["--metrics-bind-address=0", "--namespace", "bpfman"]);
        let controller =
            Operator::start(&cluster, "controller", &cluster.kubeconfig(), &flags.collect::<Vec<_>>(), &[]);
        Some(Self {
            _registry: registry,
            nodes,
            _agents: agents,
            _controller: controller,
            applications: objects(&cluster, "ClusterBpfApplication").await,
            states: objects(&cluster, "ClusterBpfApplicationState").await,
            cluster,
        })
    }

    async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.applications.patch("filter", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait::some(what, async || {
            let object = self.applications.get("filter").await.unwrap();
            let rollout = object.data["status"]["rollout"].clone();
            is(&rollout).then_some(rollout)
        })
        .await
    }

    async fn until_stable(&self, old: &Value) -> Value {
        self.until("it is through", |rollout| {
            rollout["phase"] == "Idle"
                && rollout["stableRevision"].is_string()
                && rollout["stableRevision"] != *old
        })
        .await
    }

    async fn says(&self) -> BTreeMap<String, (String, String)> {
        let all = self.states.list(&ListParams::default()).await.unwrap().items;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |state: DynamicObject| {
            let status = &state.data["status"];
            let says = (text(&status["observedRevision"]), text(&status["conditions"][0]["reason"]));
            (text(&status["node"]), says)
        };
        all.into_iter().map(of).collect()
    }

    async fn until_both_run(&self, revision: &Value) {
        let wanted = (revision.as_str().unwrap().to_owned(), "Success".to_owned());
        wait::until("both run it", async || {
            let says = self.says().await;
            says.len() == 2 && says.values().all(|says| *says == wanted)
        })
        .await;
    }

    fn ids(&self) -> Vec<Vec<u64>> {
        let of = |node: &Node| {
            let list = node.daemon.bpfman("list programs -o json").json();
            let all = list["programs"].as_array().unwrap().iter();
            all.map(|program| program["program_id"].as_u64().unwrap()).collect()
        };
        self.nodes.iter().map(of).collect()
    }

    fn each_runs(&self, program: &str) {
        for node in &self.nodes {
            assert_eq!(programs(node), [program], "{}", node.name);
            let links = links(node);
            assert!(links.len() == 1 && links[0].0 == program, "{}: {links:?}", node.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_version_reaches_nodes_in_waves_and_bad_one_rolls_back() {
    let Some(fleet) = Fleet::start().await else { return };
    let image = |tag: u32| json!({ "image": { "url": format!("{REGISTRY}/team/filter:{tag}") } });
    let mut written =
        application("filter", &compile::object("chain"), json!([xdp("xdp_member", &["up0"], 50)]));
    written["spec"]["byteCode"] = image(1);
    written["spec"]["rollout"] =
        json!({ "waves": [1], "soakSeconds": 1, "preflight": "Always", "progressDeadlineSeconds": 30 });
    fleet.cluster.apply_one(written).await;
    let first = fleet.until_stable(&Value::Null).await;
    fleet.until_both_run(&first["stableRevision"]).await;
    fleet.each_runs("xdp_member");

    // A new version, in waves of one: a preflight on a node of each group, then one node after the other.
    fleet.change(json!({ "byteCode": image(2), "programs": [xdp("sound", &["up0"], 50)] })).await;
    let second = fleet.until_stable(&first["stableRevision"]).await;
    fleet.until_both_run(&second["stableRevision"]).await;
    fleet.each_runs("sound");
    assert_eq!(second["preflight"][0]["verdict"], "Passed", "{second}");

    let running = fleet.ids();
    fleet.change(json!({ "programs": [xdp("broken", &["up0"], 50)] })).await;
    let failed = |rollout: &Value| rollout["failedRevision"].is_string();
    let stopped = fleet.until("the preflight stops it", failed).await;
    assert_eq!(stopped["preflight"][0]["verdict"], "Failed", "{stopped}");
    assert_eq!(stopped["stableRevision"], second["stableRevision"]);
    assert_eq!(fleet.ids(), running, "no node ever ran it");

    // Without a preflight the first node rejects it, and the wave is rolled back; the second node never gets it.
    let rollout =
        json!({ "waves": [1], "soakSeconds": 1, "preflight": "Never", "progressDeadlineSeconds": 30 });
    fleet.change(json!({ "programs": [xdp("broken", &["up0"], 60)], "rollout": rollout })).await;
    let old = stopped["failedRevision"].clone();
    let stopped = fleet
        .until("the wave fails", |rollout| {
            rollout["failedRevision"].is_string() && rollout["failedRevision"] != old
        })
        .await;
    let message = stopped["message"].as_str().unwrap_or_default();
    assert!(message.contains("1 of 1 nodes failed"), "{stopped}");
    fleet.until_both_run(&second["stableRevision"]).await;
    fleet.each_runs("sound");
    assert_eq!(fleet.ids(), running, "what ran goes on: nothing was loaded again");
}

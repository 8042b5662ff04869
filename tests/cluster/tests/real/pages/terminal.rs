//! Terminal of a cluster's administrator: a node with daemon and agent, and a controller once it is deployed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use bpfman_cluster_tests::{Cluster, Helm, Node, Operator, Setup, scripts, wait};
use bpfman_tests::cluster_pages::{self, Step};
use bpfman_tests::network::{FAR_ADDRESS, NEAR_ADDRESS};
use bpfman_tests::page::{self, CommandLine};
use bpfman_tests::registry::Registry;
use bpfman_tests::{Outcome, binaries, compile};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::kubelet::Kubelet;
use crate::agent::waves::{REGISTRY, lead_to};
use crate::packaging::{kustomized, packaging};

/// Address of pods that the API server can reach. It does not proxy to loopback addresses.
const ADDRESS: &str = "198.51.100.9";
const TUTORIAL_PAGE: &str = "docs/tutorials/platform-team.md";
const IMAGES: &str = "images:
  - { name: bpfman-operator, newName: registry.example/team/bpfman-operator, newTag: v1 }
  - { name: bpfman-daemon, newName: registry.example/team/bpfman-daemon, newTag: v1 }
";

pub struct Terminal {
    pub cluster: Cluster,
    work: TempDir,
    path: String,
    kubeconfig: PathBuf,
    node: Node,
    _kubelet: Kubelet,
    _registry: Registry,
    traffic: Child,
    agent: Operator,
    controller: Option<Operator>,
}

impl Terminal {
    pub async fn open(name: &str) -> Option<Self> {
        let cluster = Cluster::own_with(Setup { full: true, ..Setup::default() })?;
        let netns = cluster.netns();
        let netns = netns.file_name().unwrap().to_str().unwrap();
        let address = format!("{ADDRESS}/32");
        bpfman_tests::command::run(&["ip", "-n", netns, "addr", "add", &address, "dev", "lo"]);
        let (node, registry) = node(&cluster, name).await;
        let traffic = node.outside.command("ping").args(["-q", "-i", "0.1", FAR_ADDRESS]).spawn().unwrap();
        let agent = agent(&cluster, &node);
        let kubeconfig = administrator(&cluster).await;
        let kubelet = Kubelet::start(&cluster, ADDRESS).await;
        let path =
            scripts::path_with(&[binaries::build_folder(), cluster.path("bin")]).into_string().unwrap();
        Some(Self {
            cluster,
            work: folder(&node),
            path,
            kubeconfig,
            node,
            _kubelet: kubelet,
            _registry: registry,
            traffic,
            agent,
            controller: None,
        })
    }

    pub fn has(&mut self, helm: &Helm) {
        self.path = format!("{}:{}", helm.folder().display(), self.path);
    }

    pub async fn follow(&mut self, steps: &[Step]) {
        for step in steps {
            let lines = page::command_lines(step.0);
            let lines: Vec<_> = lines.into_iter().filter(|line| cluster_pages::is_of(line, step)).collect();
            assert!(!lines.is_empty(), "no line of {} begins with {}", step.0, step.1);
            for line in lines {
                self.before(&line).await;
                self.run(&line).await;
            }
        }
    }

    async fn before(&mut self, line: &CommandLine) {
        if line.text.starts_with("kubectl get configs") || line.text.contains("condition=Ready") {
            wait::until("there is a Config", async || {
                self.cluster.kubectl(&["get", "configs.bpfman.io", "bpfman-config"]).code == 0
            })
            .await;
        }
        if line.text.starts_with("kubectl bpfman promote") {
            self.shell("kubectl apply -f filter.yaml").await.success();
            wait::until("the first wave soaks", async || {
                let phase = "jsonpath={.status.rollout.phase}";
                let filter = ["get", "clusterbpfapplication", "filter", "-o", phase];
                self.cluster.kubectl(&filter).success() == "Soaking"
            })
            .await;
        }
        if line.text.starts_with("kubectl bpfman top") {
            wait::until("the agent's pod runs", async || {
                let running = "--field-selector=status.phase=Running";
                let label = "-lapp.kubernetes.io/name=bpfman-agent";
                !self
                    .cluster
                    .kubectl(&["-n", "bpfman", "get", "pods", label, running, "-o", "name"])
                    .success()
                    .is_empty()
            })
            .await;
        }
    }

    async fn run(&mut self, line: &CommandLine) {
        let text = line.text.replace("GENERATION", "1").replace("/NAME", "/lengths");
        let text = text.replace("ADDRESS/install.yaml", "packaging/kubernetes/base/all.yaml");
        let text = text.replace("ADDRESS/", "").replace("IMAGES/", &format!("{REGISTRY}/examples/"));
        // The command runs until Ctrl-C; status 124 means that it was still running.
        let is_endless = text.starts_with("kubectl bpfman console");
        let text = if is_endless { format!("timeout --signal INT --kill-after 20 4 {text}") } else { text };
        // Print the line first: if it hangs, it is the last one printed.
        eprintln!("$ {text}");
        let outcome = self.shell(&text).await;
        let wanted = match text.split('#').next().unwrap().trim() {
            "packaging/kubernetes/remove" => 1,
            _ if is_endless => 124,
            _ => 0,
        };
        let place = format!("{}:{}: {}", line.page, line.number, line.text);
        assert!(outcome.code == wanted || is_endless && outcome.code == 0, "{place}: {outcome:?}");
        if text.starts_with("kubectl bpfman status --follow") {
            assert!(outcome.stdout.contains("it went back"), "{place}: {outcome:?}");
        }
        if self.controller.is_none() && text.contains("apply --server-side") {
            self.controller = Some(controller(&self.cluster).await);
        }
        if text.contains("create configmap bpfman-policy") {
            let data = r"jsonpath={.data.policy\.toml}";
            let map = ["-n", "bpfman", "get", "configmap", "bpfman-policy", "-o", data];
            let mounted = self.cluster.kubectl(&map).success();
            fs::write(self.node.daemon.path("policy.toml"), mounted).unwrap();
        }
    }

    async fn shell(&self, line: &str) -> Outcome {
        let mut shell: Command = self.cluster.command("timeout");
        // The timeout exceeds all normal durations: if a line hangs, the test fails and prints the logs.
        shell.args(["120", "bash", "-euo", "pipefail", "-c", line]).current_dir(self.work.path());
        shell.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.cluster.path("")).env("PATH", &self.path);
        tokio::task::spawn_blocking(move || Outcome::of(&mut shell)).await.unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.traffic.kill().and_then(|()| self.traffic.wait());
        if std::thread::panicking()
            && let Some(controller) = &self.controller
        {
            eprintln!("--- the controller's log ---\n{}", controller.log());
            eprintln!("--- the agent's log ---\n{}", self.agent.log());
            eprintln!("--- the daemon's log ---\n{}", self.node.daemon.log());
        }
    }
}

async fn administrator(cluster: &Cluster) -> PathBuf {
    let token = cluster.token("default", "administrator").await;
    cluster
        .apply_one(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "administrator" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "administrator", "namespace": "default" }],
        }))
        .await;
    cluster.kubeconfig_with(&token)
}

/// Copies the parts of the repository that the lines use. The base is the result of an overlay, with images.
fn folder(node: &Node) -> TempDir {
    let work = tempfile::tempdir().unwrap();
    for part in ["kubernetes/remove", "kubernetes/clean-nodes", "helm/bpfman"] {
        let place = work.path().join("packaging").join(part);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        Outcome::of(Command::new("cp").arg("-r").arg(packaging().join(part)).arg(place)).success();
    }
    let objects: Vec<Value> = kustomized("base", IMAGES);
    for base in ["packaging/kubernetes/base", "OVERLAY"] {
        write_folder(&work.path().join(base), &objects);
    }
    let manifest = page::read("examples/apply/rollout.yaml").replace("localhost:5000", REGISTRY);
    fs::write(work.path().join("rollout.yaml"), manifest).unwrap();
    let key = fs::read_to_string(node.daemon.path("trusted.pub")).unwrap();
    let key: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let policy = block_with(TUTORIAL_PAGE, "[[images]]").join("\n").replace("registry.example.com", REGISTRY);
    let policy = policy.replace("(the lines of team.pub)", &key.join("\n"));
    fs::write(work.path().join("policy.toml"), policy).unwrap();
    let filter = block_with("docs/rollout.md", "  name: filter").join("\n");
    fs::write(work.path().join("filter.yaml"), filter.replace("quay.io/acme", &format!("{REGISTRY}/team")))
        .unwrap();
    let lengths = block_with(TUTORIAL_PAGE, "  name: lengths").join("\n");
    let lengths =
        lengths.replace("registry.example.com", REGISTRY).replace("soakSeconds: 30", "soakSeconds: 5");
    fs::write(work.path().join("lengths.yaml"), lengths).unwrap();
    work
}

fn block_with(page: &str, line: &str) -> Vec<String> {
    let is_it = |block: &page::Block| block.lines.iter().any(|one| one == line);
    page::blocks(page)
        .into_iter()
        .find(is_it)
        .unwrap_or_else(|| panic!("{page} has no block with {line}"))
        .lines
}

fn lengths(folder: &Path) -> PathBuf {
    let lines = block_with("docs/tutorials/program-author.md", "cat > lengths.bpf.c <<'C'");
    let source: Vec<String> = lines.into_iter().skip(1).take_while(|line| line != "C").collect();
    let (source_file, object) = (folder.join("lengths.bpf.c"), folder.join("lengths.o"));
    fs::write(&source_file, source.join("\n")).unwrap();
    let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let [source_file, object_file] = [&source_file, &object].map(|path| path.display().to_string());
    bpfman_tests::command::run(&[
        "clang",
        "-O2",
        "-g",
        "-target",
        "bpf",
        &include,
        "-c",
        &source_file,
        "-o",
        &object_file,
    ]);
    object
}

fn write_folder(folder: &Path, objects: &[Value]) {
    let _old = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    // JSON means the same in every version of YAML: an unquoted `off` is a text in one and false in another.
    let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
    fs::write(folder.join("all.yaml"), texts.join("\n---\n")).unwrap();
    fs::write(folder.join("kustomization.yaml"), "resources: [all.yaml]\n").unwrap();
}

async fn node(cluster: &Cluster, name: &str) -> (Node, Registry) {
    let registry = Registry::start();
    let node = Node::start(cluster, name, &[("role", "edge"), ("kubernetes.io/os", "linux")]).await;
    lead_to(&node, registry.address());
    // The primary interface is found by the node's address in the cluster.
    node.add_interface("up0");
    node.network.ip(&["addr", "add", &format!("{FAR_ADDRESS}/24"), "dev", "up0"]);
    node.outside.ip(&["addr", "add", &format!("{NEAR_ADDRESS}/24"), "dev", "up0"]);
    cluster.node_runs(name, "6.12.0-amd64", "").await;
    let bpfman = |line: &str| {
        let mut command = node.network.command(&binaries::find("bpfman").display().to_string());
        command.env("HOME", node.daemon.path("")).args(line.split_whitespace());
        Outcome::of(&mut command).success()
    };
    let key = node.daemon.path("trusted").display().to_string();
    bpfman(&format!("image generate-key-pair {key}"));
    for (name, object) in [
        ("examples/exec-snoop:latest", compile::example("exec-snoop")),
        ("team/filter:v2", compile::object("pass")),
        ("team/lengths:v1", lengths(&node.daemon.path(""))),
    ] {
        let image = format!("{REGISTRY}/{name}");
        bpfman(&format!("image build -t {image} -b {}", object.display()));
        bpfman(&format!("image push {image}"));
        bpfman(&format!("image sign {image} --key {key}.key"));
    }
    (node, registry)
}

fn agent(cluster: &Cluster, node: &Node) -> Operator {
    let flags = [
        format!("--node-name={}", node.name),
        format!("--daemon-socket={}", node.daemon.socket().display()),
        format!("--health-probe-bind-address={ADDRESS}:8175"),
        "--metrics-bind-address=0".to_owned(),
    ];
    Operator::start(cluster, "agent", &cluster.kubeconfig(), &flags, &[])
}

async fn controller(cluster: &Cluster) -> Operator {
    let token = cluster.token("bpfman", "bpfman-operator").await;
    let images = [("BPFMAN_IMG", "daemon:1"), ("BPFMAN_AGENT_IMG", "agent:1"), ("POD_NAMESPACE", "bpfman")];
    // Use the flags of the Deployment, except for probes, because the agent uses their port here.
    let flags = [
        "--health-probe-bind-address=0",
        "--admission-bind-address=:9443",
        "--metrics-bind-address=:8443",
        "--console-bind-address=:8447",
    ];
    Operator::start(cluster, "controller", &cluster.kubeconfig_with(&token), &flags, &images)
}

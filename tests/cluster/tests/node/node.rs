//! Real node with the project's images, and the operator deployed from the packaged manifests.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bpfman_cluster_tests::scripts::{self, Stage};
use bpfman_cluster_tests::{Cluster, Setup, manifests, wait};
use bpfman_tests::{Outcome, command::run, compile};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

/// Timeout for the removal of a pod. This kubelet stops a pod's sandbox once, when the last container is
/// removed. If the sandbox still runs then, it stays until garbage collection, which happens every minute.
const POD_REMOVAL_TIMEOUT: Duration = wait::DEADLINE.saturating_add(Duration::from_secs(330));

pub struct RealNode {
    pub cluster: Cluster,
    /// Lock, released after the node is stopped.
    _only: File,
}

impl RealNode {
    pub fn start() -> Option<Self> {
        Self::of(&["node-a"])
    }

    pub fn start_two() -> Option<Self> {
        Self::of(&["node-a", "node-b"])
    }

    fn of(names: &[&str]) -> Option<Self> {
        scripts::kubernetes(Stage::Node)?;
        // Only one node may run on a machine: a kubelet kills processes in pod cgroups that it does not know.
        let only = File::create(env::temp_dir().join("bpfman-node.lock")).unwrap();
        flock(&only, FlockOperation::LockExclusive).unwrap();
        let cluster = Cluster::own_with(Setup { full: true, ..Setup::default() })?;
        for name in names {
            scripts::run("node-up", &cluster.path(""), &[name]);
        }
        let node = Self { cluster, _only: only };
        node.images();
        Some(node)
    }

    pub async fn deploy(&self) {
        self.deploy_with("").await;
    }

    pub async fn deploy_with(&self, policy: &str) {
        self.cluster.apply_definitions().await;
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes").canonicalize().unwrap();
        let overlay = tempfile::tempdir_in(base).unwrap();
        let lines = "resources: [../base]
images:
  - { name: bpfman-operator, newName: bpfman.test/bpfman-operator, newTag: test }
  - { name: bpfman-daemon, newName: bpfman.test/bpfman-daemon, newTag: test }
";
        fs::write(overlay.path().join("kustomization.yaml"), lines).unwrap();
        let built = self.cluster.kubectl(&["kustomize", &text(overlay.path())]).success();
        let mut objects = manifests::parse(&built);
        objects.retain(|object| object["kind"] != "CustomResourceDefinition");
        objects.sort_by_key(|object| object["kind"] != "Namespace");
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "bpfman-policy", "namespace": "bpfman" },
            "data": { "policy.toml": format!("{policy}\n[files]\nusers = [60750]\n") },
        }));
        for mut object in objects {
            manifests::wait_for_reviews(&mut object);
            self.cluster.apply_one(object).await;
        }
    }

    pub fn take_away(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/remove");
        let seconds = POD_REMOVAL_TIMEOUT.as_secs().to_string();
        let mut command = self.cluster.command(script);
        command.env("KUBECONFIG", self.cluster.kubeconfig()).env("HOME", self.cluster.path(""));
        let told = Outcome::of(command.args(["--yes", "--timeout", &seconds])).success();
        assert!(told.contains("nothing of bpfman is left in the cluster, or on its nodes"), "{told}");
    }

    pub fn delete(&self, words: &[&str]) -> Outcome {
        self.cluster.kubectl(&[&["delete", &*timeout(POD_REMOVAL_TIMEOUT)], words].concat())
    }

    pub fn delete_application(&self, name: &str) {
        let words = ["delete", "clusterbpfapplication", name, &timeout(wait::DEADLINE * 2)];
        self.cluster.kubectl(&words).success();
    }

    pub async fn without_a_pod(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        wait::until_within(POD_REMOVAL_TIMEOUT, what, holds).await;
    }

    pub fn second_netns(&self) -> PathBuf {
        let mut name = self.cluster.netns().into_os_string();
        name.push("-b");
        name.into()
    }

    pub fn on_node(&self, words: &[&str]) -> Outcome {
        let pid = fs::read_to_string(self.cluster.path("containerd.pid")).unwrap();
        let pid = pid.split(' ').next().unwrap();
        Outcome::of(Command::new("nsenter").args(["--mount", "--net", "--target", pid]).args(words))
    }

    /// Puts an object on the node, owned by the agent, which may load only its own files (see `deploy`).
    pub fn bytecode(&self, name: &str) -> String {
        let object = compile::object(name);
        let path = format!("/var/lib/bpfman/{name}.o");
        self.on_node(&["mkdir", "-p", "/var/lib/bpfman"]).success();
        self.on_node(&["install", "-o", "60750", &text(&object), &path]).success();
        path
    }

    pub fn install_profile(&self) {
        let profile =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/kubernetes/seccomp/bpfman-map-reader.json");
        self.on_node(&["install", "-D", "-t", "/var/lib/kubelet/seccomp", profile]).success();
    }

    pub async fn deployed(&self) {
        self.wait(&["-n", "bpfman", "--for=condition=Available", "deployment/bpfman-operator"]);
        for app in ["bpfman-daemon", "bpfman-agent"] {
            wait::until(&format!("{app} has its pod"), async || !self.pods_of(app).is_empty()).await;
            let selector = selector(app);
            self.wait(&["-n", "bpfman", "--for=condition=Ready", "pods", "-l", &selector]);
        }
    }

    pub fn pods_of(&self, app: &str) -> Vec<Value> {
        let words = ["-n", "bpfman", "get", "pods", "-l", &selector(app), "-o", "json"];
        self.cluster.kubectl(&words).json()["items"].as_array().cloned().unwrap_or_default()
    }

    pub fn process(&self, pod: &Value) -> String {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
        let id = id.trim_start_matches("containerd://");
        let tasks = scripts::run("ctr", &self.cluster.path(""), &["tasks", "ls"]);
        let line = tasks.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {tasks}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    pub fn xdp_of(&self, pod: &Value) -> Value {
        let process = self.process(pod);
        let told = run(&["nsenter", "--net", "--target", &process, "ip", "-j", "link", "show", "eth0"]);
        serde_json::from_str::<Value>(&told).unwrap()[0]["xdp"].clone()
    }

    pub fn pod(&self, name: &str) -> Value {
        self.cluster.kubectl(&["get", "pod", name, "-o", "json"]).json()
    }

    pub fn wait(&self, words: &[&str]) {
        let outcome = self.cluster.kubectl(&[&["wait", &*timeout(wait::DEADLINE * 2)], words].concat());
        assert!(outcome.code == 0, "{words:?}: {}", outcome.stderr);
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let look = |words: &[&str]| eprintln!("{}", self.cluster.kubectl(words).stdout);
        look(&["get", "pods,ds,clusterbpfapplications,clusterbpfapplicationstates", "-A", "-o", "wide"]);
        look(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
        for app in ["bpfman-operator", "bpfman-agent", "bpfman-daemon"] {
            look(&["-n", "bpfman", "logs", "-l", &selector(app), "--tail=40", "--all-containers"]);
        }
    }
}

fn selector(app: &str) -> String {
    format!("app.kubernetes.io/name={app}")
}

pub fn timeout(patience: Duration) -> String {
    format!("--timeout={}s", patience.as_secs())
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

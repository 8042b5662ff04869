//! The node, our images on it, and the operator deployed from what is packaged.

use std::fs;
use std::path::Path;
use std::process::Command;

use bpfman_cluster_tests::{Cluster, Setup, manifests, scripts};
use bpfman_tests::{Outcome, binaries, command::run, compile};
use serde_json::{Value, json};

/// A cluster with one real node.
pub struct RealNode {
    pub cluster: Cluster,
}

impl RealNode {
    /// Starts it, and gives it our images, and the program that reads maps.
    ///
    /// None, with a line that counts as a skip, where containerd or Kubernetes are missing.
    pub fn start() -> Option<Self> {
        if Outcome::of(Command::new("sh").args(["-c", "command -v containerd"])).code != 0 {
            eprintln!("SKIPPED(containerd): {}", std::thread::current().name().unwrap_or("a test"));
            return None;
        }
        let cluster = Cluster::own_with(Setup { full: true, ..Setup::default() })?;
        scripts::run("node-up", &cluster.path(""), &[]);
        let node = Self { cluster };
        match std::env::var_os("BPFMAN_IMAGES") {
            Some(images) => node.packaged_images(Path::new(&images)),
            None => {
                node.image("bpfmand", "bpfman.test/bpfman-daemon:test", "/usr/sbin/bpfmand");
                node.image("bpfman-operator", "bpfman.test/bpfman-operator:test", "/usr/bin/bpfman-operator");
            }
        }
        node.reader();
        Some(node)
    }

    /// The images of `packaging/containers/build`.
    fn packaged_images(&self, folder: &Path) {
        for image in ["daemon", "operator"] {
            let archive = folder.join(format!("bpfman-{image}.tar"));
            assert!(archive.exists(), "{} is missing: run `make test-kube-node`", archive.display());
            scripts::run("image", &self.cluster.path(""), &["--archive", &text(&archive)]);
        }
    }

    /// An image of a binary of this build as it is, with the libraries that it is linked with. Built in seconds; the
    /// packaged ones are static.
    fn image(&self, binary: &str, name: &str, place: &str) {
        let stripped = self.cluster.path(binary);
        run(&["strip", "-o", &text(&stripped), &text(&binaries::find(binary))]);
        let mut files = vec![format!("{}:{place}", stripped.display())];
        for word in run(&["ldd", &text(&stripped)]).split_whitespace().filter(|word| word.starts_with('/')) {
            files.push(format!("{word}:{word}"));
        }
        let words: Vec<&str> = [name, place].into_iter().chain(files.iter().map(String::as_str)).collect();
        scripts::run("image", &self.cluster.path(""), &words);
    }

    /// An image of the program that reads maps.
    fn reader(&self) {
        let reader = self.cluster.path("read_map");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/read_map.c");
        run(&["cc", "-static", "-O1", "-Wall", "-Werror", "-o", &text(&reader), &text(&source)]);
        let copy = format!("{}:/bin/read_map", reader.display());
        scripts::run("image", &self.cluster.path(""), &["bpfman.test/reader:1", "/bin/read_map", &copy]);
    }

    /// Applies what is packaged, with our images. This server takes definitions without rules only.
    pub async fn deploy(&self) {
        self.cluster.apply_definitions().await;
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes").canonicalize().unwrap();
        let overlay = tempfile::tempdir_in(base).unwrap();
        let text = "resources: [../base]
images:
  - { name: bpfman-operator, newName: bpfman.test/bpfman-operator, newTag: test }
  - { name: bpfman-daemon, newName: bpfman.test/bpfman-daemon, newTag: test }
";
        fs::write(overlay.path().join("kustomization.yaml"), text).unwrap();
        let built = Outcome::of(Command::new("kubectl").arg("kustomize").arg(overlay.path())).success();
        let mut objects = manifests::parse(&built);
        objects.retain(|object| object["kind"] != "CustomResourceDefinition");
        objects.sort_by_key(|object| object["kind"] != "Namespace");
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "bpfman-policy", "namespace": "bpfman" },
            "data": { "policy.toml": "[files]\nusers = [65532]\n" },
        }));
        for object in objects {
            self.cluster.apply_one(object).await;
        }
    }

    /// Takes away what `deploy` applied, as users do; gives back what kubectl said.
    pub fn remove(&self) -> Outcome {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/kubernetes/base");
        self.cluster.kubectl(&["delete", "--ignore-not-found", "--timeout=60s", "-k", &text(&base)])
    }

    /// A command as the node's own processes see files, networks and mounts.
    pub fn on_node(&self, words: &[&str]) -> Outcome {
        let pid = fs::read_to_string(self.cluster.path("containerd.pid")).unwrap();
        let pid = pid.split(' ').next().unwrap();
        Outcome::of(Command::new("nsenter").args(["--mount", "--net", "--target", pid]).args(words))
    }

    /// Puts an object file of `tests/programs` where the daemon finds it. It is the agent's, who may load its own files
    /// (see `deploy`).
    pub fn bytecode(&self, name: &str) -> String {
        let object = compile::object(name);
        let path = format!("/var/lib/bpfman/{name}.o");
        self.on_node(&["mkdir", "-p", "/var/lib/bpfman"]).success();
        self.on_node(&["install", "-o", "65532", &text(&object), &path]).success();
        path
    }

    /// Process id of a pod's container.
    pub async fn process(&self, pod: &str) -> String {
        let pod = self.pod(pod);
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap().to_owned();
        let id = id.trim_start_matches("containerd://");
        let socket = self.cluster.path("node/containerd.sock");
        let tasks = run(&["ctr", "--address", &text(&socket), "--namespace", "k8s.io", "tasks", "ls"]);
        let line = tasks.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {tasks}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// A pod of the default namespace.
    pub fn pod(&self, name: &str) -> Value {
        self.cluster.kubectl(&["get", "pod", name, "-o", "json"]).json()
    }

    /// Waits as `kubectl wait` does; says what the node says if it was in vain.
    pub fn wait(&self, words: &[&str]) {
        let outcome = self.cluster.kubectl(&[&["wait", "--timeout=60s"], words].concat());
        if outcome.code != 0 {
            let look = |words: &[&str]| eprintln!("{}", self.cluster.kubectl(words).stdout);
            look(&["get", "pods,ds,clusterbpfapplications,clusterbpfapplicationstates", "-A", "-o", "wide"]);
            look(&["get", "events", "-A", "--sort-by=.lastTimestamp"]);
            for app in ["bpfman-operator", "bpfman-agent", "bpfman-daemon"] {
                let selector = format!("app.kubernetes.io/name={app}");
                look(&["-n", "bpfman", "logs", "-l", &selector, "--tail=40", "--all-containers"]);
            }
            panic!("{words:?}: {}", outcome.stderr);
        }
    }
}

/// A pod on the node that runs a command as an ordinary user.
pub fn pod(name: &str, image: &str, words: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 4711, "runAsGroup": 4711 },
            "containers": [{
                "name": "main", "image": image, "command": words,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

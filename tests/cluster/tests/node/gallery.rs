//! Entries of the gallery as their manifests have them: the program signed in a registry, the side on every node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_cluster_tests::cluster::in_network;
use bpfman_cluster_tests::wait;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Outcome, binaries, compile};

use crate::images::side;
use crate::node::{RealNode, text, timeout};

/// What the manifests name: each node has a registry there, with what the test publishes.
const REGISTRY: &str = "localhost:5000";

/// Registries of the nodes, and the key that their daemons trust.
pub struct Gallery {
    key: PathBuf,
    networks: [PathBuf; 2],
    _registries: [Registry; 2],
}

impl Gallery {
    /// Of a cluster of two nodes.
    pub fn open(node: &RealNode) -> Self {
        let networks = [node.cluster.netns(), node.second_netns()];
        let registries =
            [0, 1].map(|one| in_network(&networks[one], || Registry::start_at("127.0.0.1:5000")));
        let key = node.cluster.path("trusted");
        let gallery = Self { key, networks, _registries: registries };
        gallery.bpfman(0, &format!("image generate-key-pair {}", text(&gallery.key)));
        gallery
    }

    /// Lines of a daemon's policy: what is signed by our key, and nothing else.
    pub fn policy(&self) -> String {
        let key = fs::read_to_string(self.key.with_extension("pub")).unwrap();
        format!("[[images]]\npattern = \"{REGISTRY}/*\"\nkeys = ['''\n{key}''']\n")
    }

    /// Applies an entry's `app.yaml` as it is, its program being pushed and signed, and its `cluster.yaml` as its first lines
    /// say; waits until all of it runs on both nodes.
    pub async fn deploy(&self, node: &RealNode, entry: &str) {
        self.apply(node, entry);
        node.wait(&["--for=condition=Success", &format!("clusterbpfapplication/{entry}")]);
        node.side_runs(entry);
    }

    /// The same, without waiting.
    pub fn apply(&self, node: &RealNode, entry: &str) {
        self.apply_at(node, entry, None);
    }

    /// The same at another place than `app.yaml` says: what stands there, and what takes its place.
    pub fn apply_at(&self, node: &RealNode, entry: &str, place: Option<(&str, &str)>) {
        let image = format!("{REGISTRY}/examples/{entry}:latest");
        let object = text(&compile::example(entry));
        for network in [0, 1] {
            self.bpfman(network, &format!("image build -t {image} -b {object}"));
            self.bpfman(network, &format!("image push {image}"));
            self.bpfman(network, &format!("image sign {image} --key {}.key", text(&self.key)));
        }
        node.side_image(entry);

        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(entry);
        let kubectl = |words: &[&str]| node.cluster.kubectl(words).success();
        let mut application = fs::read_to_string(example.join("app.yaml")).unwrap();
        if let Some((published, here)) = place {
            assert!(application.contains(published), "{entry}/app.yaml does not say {published}");
            application = application.replace(published, here);
        }
        let file = node.cluster.path(format!("{entry}-app.yaml"));
        fs::write(&file, application).unwrap();
        kubectl(&["apply", "-f", &text(&file)]);
        kubectl(&["create", "namespace", entry]);
        let file = node.cluster.path(format!("{entry}.yaml"));
        fs::write(&file, in_cluster(&example.join("cluster.yaml"), entry)).unwrap();
        kubectl(&["apply", "-f", &text(&file)]);
    }

    /// The client, in the network of a node.
    fn bpfman(&self, network: usize, line: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.networks[network].display())).arg(binaries::find("bpfman"));
        command.env("HOME", self.key.parent().unwrap());
        Outcome::of(command.args(line.split_whitespace())).success();
    }
}

impl RealNode {
    /// Waits until the side of an entry runs on every node.
    pub fn side_runs(&self, entry: &str) {
        let all = format!("daemonset/{entry}");
        self.cluster
            .kubectl(&["-n", entry, "rollout", "status", &all, &timeout(wait::DEADLINE * 2)])
            .success();
    }
}

/// The manifest with the image of the side that the nodes were given.
fn in_cluster(path: &Path, entry: &str) -> String {
    let manifest = fs::read_to_string(path).unwrap();
    let published = format!("{REGISTRY}/examples/{entry}-side:latest");
    assert!(manifest.contains(&published), "{} does not name {published}", path.display());
    manifest.replace(&published, &side(entry))
}

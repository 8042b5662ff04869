//! Examples with their manifests: the program is signed in a registry, the companion command runs on every node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_cluster_tests::cluster::in_network;
use bpfman_cluster_tests::wait;
use bpfman_tests::registry::Registry;
use bpfman_tests::{Outcome, binaries, compile};

use crate::images::side;
use crate::node::{RealNode, text, timeout};

const REGISTRY: &str = "localhost:5000";

pub struct Gallery {
    key: PathBuf,
    networks: [PathBuf; 2],
    _registries: [Registry; 2],
}

impl Gallery {
    pub fn open(node: &RealNode) -> Self {
        let networks = [node.cluster.netns(), node.second_netns()];
        let registries =
            [0, 1].map(|one| in_network(&networks[one], || Registry::start_at("127.0.0.1:5000")));
        let key = node.cluster.path("trusted");
        let gallery = Self { key, networks, _registries: registries };
        gallery.bpfman(0, &format!("image generate-key-pair {}", text(&gallery.key)));
        gallery
    }

    pub fn policy(&self) -> String {
        let key = fs::read_to_string(self.key.with_extension("pub")).unwrap();
        format!("[[images]]\npattern = \"{REGISTRY}/*\"\nkeys = ['''\n{key}''']\n")
    }

    /// Pushes and signs an example's program, applies its manifests, and waits until it runs on both nodes.
    pub async fn deploy(&self, node: &RealNode, entry: &str) {
        self.apply(node, entry);
        node.wait(&["--for=condition=Success", &format!("clusterbpfapplication/{entry}")]);
        node.side_runs(entry);
    }

    pub fn apply(&self, node: &RealNode, entry: &str) {
        self.apply_at(node, entry, None);
    }

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

    fn bpfman(&self, network: usize, line: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.networks[network].display())).arg(binaries::find("bpfman"));
        command.env("HOME", self.key.parent().unwrap());
        Outcome::of(command.args(line.split_whitespace())).success();
    }
}

impl RealNode {
    pub fn side_runs(&self, entry: &str) {
        let all = format!("daemonset/{entry}");
        self.cluster
            .kubectl(&["-n", entry, "rollout", "status", &all, &timeout(wait::DEADLINE * 2)])
            .success();
    }
}

fn in_cluster(path: &Path, entry: &str) -> String {
    let manifest = fs::read_to_string(path).unwrap();
    let published = format!("{REGISTRY}/examples/{entry}-side:latest");
    assert!(manifest.contains(&published), "{} does not name {published}", path.display());
    manifest.replace(&published, &side(entry))
}

//! Node without a kubelet: a daemon in a network namespace of its own, and a Node object.

use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, Launch};

use crate::Cluster;

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub daemon: Daemon,
    pub network: Namespace,
    pub outside: Namespace,
}

impl Node {
    pub async fn start(cluster: &Cluster, name: &str, labels: &[(&str, &str)]) -> Self {
        Self::start_with(cluster, name, labels, Launch::default()).await
    }

    pub async fn start_with(
        cluster: &Cluster,
        name: &str,
        labels: &[(&str, &str)],
        mut launch: Launch,
    ) -> Self {
        let network = Namespace::new("node");
        launch.wrapper.splice(0..0, ["nsenter".to_owned(), format!("--net={}", network.path().display())]);
        let daemon = Daemon::start_with(&launch);
        cluster.node(name, labels).await;
        Self { name: name.to_owned(), daemon, network, outside: Namespace::new("outside") }
    }

    pub fn add_interface(&self, name: &str) {
        let outside = self.outside.path().display().to_string();
        self.network.ip(&["link", "add", name, "type", "veth", "peer", "name", name, "netns", &outside]);
        self.network.ip(&["link", "set", name, "up"]);
        self.outside.ip(&["link", "set", name, "up"]);
    }
}

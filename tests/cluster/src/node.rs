//! A node without a kubelet: a daemon in a network namespace of its own, and an object that says there is such a node.

use bpfman_tests::network::Namespace;
use bpfman_tests::{Daemon, Launch};

use crate::Cluster;

/// A daemon that a cluster knows as a node.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its daemon.
    pub daemon: Daemon,
    /// Its network.
    pub network: Namespace,
    /// What its interfaces lead to.
    pub outside: Namespace,
}

impl Node {
    /// Starts a daemon and makes the object.
    pub async fn start(cluster: &Cluster, name: &str, labels: &[(&str, &str)]) -> Self {
        Self::start_with(cluster, name, labels, Launch::default()).await
    }

    /// The same, with a daemon that is started in a way of its own.
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

    /// An interface that is up. Its other end has the same name outside.
    pub fn add_interface(&self, name: &str) {
        let outside = self.outside.path().display().to_string();
        self.network.ip(&["link", "add", name, "type", "veth", "peer", "name", name, "netns", &outside]);
        self.network.ip(&["link", "set", name, "up"]);
        self.outside.ip(&["link", "set", name, "up"]);
    }
}

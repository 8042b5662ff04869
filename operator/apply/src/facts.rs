//! What has to be known of a machine to tell what an application wants there.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// One machine, now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the node; of the host where there is no cluster.
    pub node: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// The node's internal addresses: they tell the primary interface.
    pub addresses: Vec<IpAddr>,
    /// Interfaces, in every network namespace that the daemon was asked for; absent while that is not known.
    pub interfaces: Option<Vec<NodeInterface>>,
    /// Discovery finds nothing, by the wish of who runs this.
    pub discovery_off: bool,
    /// Running pods of this node.
    pub pods: Vec<PodFacts>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInterface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Path of the namespace's file as the daemon opens it; absent: the daemon's own.
    pub netns: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It shares the node's network namespace.
    pub host_network: bool,
    /// Its network namespace's file as the daemon opens it, once known.
    pub netns: Option<Netns>,
    /// Nothing runs in it now: before its first container, or between two. That its namespace is not known is no
    /// problem then.
    pub idle: bool,
    /// Containers that run.
    pub containers: Vec<PodContainer>,
    /// Ids of containers that should run, and that the daemon did not find.
    pub unseen: Vec<String>,
    /// Of these, the ones whose processes the daemon does not know for certain: the id, and the daemon's reason.
    pub ambiguous: Vec<(String, String)>,
}

impl PodFacts {
    /// Returns a sentence for each container whose processes are not known for certain.
    pub(crate) fn ambiguities(&self) -> impl Iterator<Item = String> {
        self.ambiguous.iter().map(|(id, reason)| {
            format!(
                "container {id} of pod {}/{} is not known for certain: {reason}",
                self.namespace, self.name
            )
        })
    }
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netns {
    /// Path of its file as the daemon opens it.
    pub path: String,
    /// Inode and cookie: one namespace, whatever the path.
    pub identity: (u64, u64),
}

/// A container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    /// Name in its pod.
    pub name: String,
    /// Its id, with the runtime's prefix.
    pub id: String,
    /// Its first process, as the daemon sees it.
    pub pid: i32,
}

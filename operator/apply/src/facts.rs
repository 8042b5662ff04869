//! Facts about a machine that the desired state depends on.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Current facts about one machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the node, or of the host without a cluster.
    pub node: String,
    pub labels: BTreeMap<String, String>,
    /// Internal addresses of the node, by which the primary interface is found.
    pub addresses: Vec<IpAddr>,
    /// Interfaces in all network namespaces that the daemon was queried for; `None` while unknown.
    pub interfaces: Option<Vec<NodeInterface>>,
    /// True if interface discovery is disabled by configuration.
    pub discovery_off: bool,
    /// Running pods of this node.
    pub pods: Vec<PodFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeInterface {
    pub name: String,
    pub index: u32,
    /// Path of the network namespace's file as the daemon opens it; `None` means the daemon's own.
    pub netns: Option<String>,
    pub up: bool,
    pub addresses: Vec<IpAddr>,
}

/// Pod of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// True if the pod shares the node's network namespace.
    pub host_network: bool,
    /// Network namespace of the pod, once known.
    pub netns: Option<Netns>,
    /// True if no container runs now: an unknown network namespace is no problem then.
    pub idle: bool,
    pub containers: Vec<PodContainer>,
    /// Ids of containers that should run but that the daemon did not find.
    pub unseen: Vec<String>,
    /// Containers of `unseen` whose processes the daemon cannot determine for certain: id, and the daemon's reason.
    pub ambiguous: Vec<(String, String)>,
}

impl PodFacts {
    pub(crate) fn ambiguities(&self) -> impl Iterator<Item = String> {
        self.ambiguous.iter().map(|(id, reason)| {
            format!(
                "container {id} of pod {}/{} is not known for certain: {reason}",
                self.namespace, self.name
            )
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netns {
    /// Path of its file as the daemon opens it.
    pub path: String,
    /// Inode and cookie, which identify the namespace whatever its path.
    pub identity: (u64, u64),
}

/// Running container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodContainer {
    pub name: String,
    /// Id with the runtime's prefix.
    pub id: String,
    /// Id of the first process, in the daemon's pid namespace.
    pub pid: i32,
}

//! Deploys daemon and agent as the one `Config` object says, and keeps them so.

mod agent;
mod cni;
mod covers;
mod daemon;
mod default;
mod error;
mod found;
mod images;
mod objects;
mod removal;
mod run;
mod status;

use std::collections::BTreeMap;

pub use default::default_config;
pub use images::{DeployImages, MissingImage};
pub use run::run;

use crate::controller::projection::ClusterNode;

/// What the rest of the controller has to know of what is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Whether nodes are to keep pods away until their programs are back; absent: nobody said, leave taints alone.
    pub taints: Option<bool>,
    /// The namespace of agents; absent: nobody said, they are where the operator is.
    pub agents: Option<String>,
}

impl Deployed {
    /// Whether the daemon is meant to run on a node.
    #[must_use]
    pub fn selects(&self, node: &ClusterNode) -> bool {
        node_selector().iter().all(|(key, value)| node.label(key) == Some(value))
    }
}

/// The nodes that daemon and agent are deployed to.
#[must_use]
pub fn node_selector() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("kubernetes.io/os", "linux")])
}

/// Label by which pods of agents are found.
pub const AGENT_SELECTOR: &str = "app.kubernetes.io/name=bpfman-agent";

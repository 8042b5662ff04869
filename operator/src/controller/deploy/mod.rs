//! Deploys daemon and agent according to the one `Config` object, and restores them after changes.

mod agent;
mod cni;
mod covers;
mod daemon;
mod default;
mod error;
mod found;
mod images;
mod manifest;
mod objects;
mod quantity;
mod reach;
mod removal;
mod run;
mod status;

pub use default::default_config;
pub use images::{DeployImages, MissingImage};
pub use objects::objects as deployed_objects;
pub use reach::DaemonNodes;
pub use run::run;

/// Facts about the deployment that other parts of the controller need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Taint setting: keep pods away from nodes until their programs are back. `None` if not configured: taints stay.
    pub taints: Option<bool>,
    /// Namespace of the agents; `None` if not configured: the operator's own namespace.
    pub agents: Option<String>,
    /// Nodes to which daemon and agent are deployed.
    pub reach: DaemonNodes,
}

/// Label selector of the agents' pods.
pub const AGENT_SELECTOR: &str = "app.kubernetes.io/name=bpfman-agent";

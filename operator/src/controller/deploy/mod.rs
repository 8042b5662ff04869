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
mod quantity;
mod reach;
mod removal;
mod run;
mod status;

pub use default::default_config;
pub use images::{DeployImages, MissingImage};
pub use objects::objects as deployed_objects;
pub use reach::DaemonReach;
pub use run::run;

/// What the rest of the controller has to know of what is deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployed {
    /// Whether nodes are to keep pods away until their programs are back; absent: nobody said, leave taints alone.
    pub taints: Option<bool>,
    /// The namespace of agents; absent: nobody said, they are where the operator is.
    pub agents: Option<String>,
    /// The nodes that daemon and agent are deployed to.
    pub reach: DaemonReach,
}

/// Label by which pods of agents are found.
pub const AGENT_SELECTOR: &str = "app.kubernetes.io/name=bpfman-agent";

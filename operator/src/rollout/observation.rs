use std::collections::BTreeMap;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{Rollout, RolloutStatus};
use bpfman_application::state::node::{HealthAnswer, PreflightAnswer};

use super::clock::UnixSeconds;
use super::command::Numbered;
use super::revision;

/// Application and its nodes at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// Time of the API server. It may jump.
    pub now: UnixSeconds,
    /// Name of the revision of the current spec, computed by [`revision::name`].
    pub target: String,
    /// True if the image is named by a tag, so that a digest must be pinned.
    pub tagged: bool,
    /// The spec's rollout settings.
    pub rollout: Rollout,
    /// Status as last decided.
    pub status: RolloutStatus,
    /// The user's last command, whether executed or not.
    pub command: Option<Numbered>,
    /// Nodes that have a state object, by name.
    pub nodes: BTreeMap<String, RolloutNode>,
}

/// Node as reported by its state object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutNode {
    /// True if the application's selector matches the node.
    pub selected: bool,
    /// True if its agent is present, and would receive an order.
    pub present: bool,
    /// Kernel release, as printed by `uname -r`.
    pub kernel: String,
    /// Hash of the programs that share its hooks; empty if there are none.
    pub composition: String,
    pub orders: NodeOrders,
    /// Revision to which the following fields apply.
    pub observed: Option<String>,
    pub health: NodeHealth,
    /// Digest of the image that runs.
    pub digest: Option<String>,
    pub message: String,
    /// Answer to a preflight order.
    pub preflight: Option<PreflightAnswer>,
    /// Answer to the order to watch the gates.
    pub gates: Option<HealthAnswer>,
}

/// Health of an application's programs on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeHealth {
    /// Not known yet, or possibly temporary.
    #[default]
    Pending,
    /// Loaded and attached everywhere; or not wanted on the node and removed.
    Healthy,
    Failed,
}

impl RolloutNode {
    pub(super) fn takes_part(&self) -> bool {
        self.selected && self.present
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.orders.revision.is_none()
    }

    pub(super) fn progress(&self) -> NodeHealth {
        if !self.present || self.observed.is_none() || self.observed != self.orders.revision {
            return NodeHealth::Pending;
        }
        self.health
    }

    pub(super) fn has(&self, wanted: &str) -> bool {
        let ordered = self.orders.revision.as_deref();
        ordered.is_some_and(|ordered| revision::covers(ordered, self.digest.as_deref(), wanted))
    }
}

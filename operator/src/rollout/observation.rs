//! What there is to see when a rollout is decided on.

use std::collections::BTreeMap;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{Rollout, RolloutStatus};
use bpfman_application::state::node::{HealthAnswer, PreflightAnswer};

use super::clock::Moment;
use super::command::Numbered;
use super::revision;

/// One application and its nodes, now.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What time it is for all controllers. It may jump.
    pub now: Moment,
    /// Name of the revision that today's spec makes, as [`revision::name`] gives it.
    pub target: String,
    /// Whether its image is named by a tag, so that a digest has to be pinned.
    pub tagged: bool,
    /// How changes go out.
    pub rollout: Rollout,
    /// What was decided up to now.
    pub status: RolloutStatus,
    /// The last thing that a user said, whether acted on or not.
    pub command: Option<Numbered>,
    /// Nodes that have a state object, by name.
    pub nodes: BTreeMap<String, RolloutNode>,
}

/// A node, as its state object tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutNode {
    /// The application's selector takes it.
    pub selected: bool,
    /// Its agent is there: it would hear an order.
    pub present: bool,
    /// As `uname -r` prints it.
    pub kernel: String,
    /// Hash over the programs that share the hooks; empty if there are none.
    pub composition: String,
    /// What it was told.
    pub orders: NodeOrders,
    /// The revision that the rest is about.
    pub observed: Option<String>,
    /// How that revision is doing.
    pub health: NodeHealth,
    /// Digest of the image that runs.
    pub digest: Option<String>,
    /// Of a failure, what failed, for people.
    pub message: String,
    /// Answer to the order to load and discard.
    pub preflight: Option<PreflightAnswer>,
    /// Answer to the order to watch the gates.
    pub gates: Option<HealthAnswer>,
}

/// How the programs of an application are doing on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeHealth {
    /// Not known yet, or it may get better by itself.
    #[default]
    Pending,
    /// Loaded, and attached everywhere; or not wanted here, and gone.
    Healthy,
    /// It will not get better by waiting.
    Failed,
}

impl RolloutNode {
    /// Whether it counts among the nodes that a rollout is for.
    pub(super) fn takes_part(&self) -> bool {
        self.selected && self.present
    }

    /// Whether it was told to run something.
    pub(super) fn is_fresh(&self) -> bool {
        self.orders.revision.is_none()
    }

    /// How what it was told to run is doing.
    pub(super) fn progress(&self) -> NodeHealth {
        if !self.present || self.observed.is_none() || self.observed != self.orders.revision {
            return NodeHealth::Pending;
        }
        self.health
    }

    /// Whether it was told to run this revision: by its name, or by the name that it had before its digest was known,
    /// unless the node found another digest behind the tag.
    pub(super) fn has(&self, revision: &str) -> bool {
        let Some(ordered) = self.orders.revision.as_deref() else { return false };
        if ordered == revision {
            return true;
        }
        revision::is_pinned_form(ordered, revision)
            && self.digest.as_deref().is_none_or(|digest| revision::pins(revision, digest))
    }
}

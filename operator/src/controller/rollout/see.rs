//! An application and its nodes as a rollout sees them. Pure.

use std::collections::{BTreeMap, HashSet};

use bpfman_apply::node_reason::NodeReason;

use crate::controller::decide::summarize::Presence;
use crate::controller::memory::View;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{NodeAnswer, NodeOutcome};
use crate::rollout::{NodeHealth, RolloutNode};

/// A node and the state object through which it is told.
#[derive(Clone, Debug)]
pub struct SeenNode {
    /// Name of the state object.
    pub object: SharedText,
    /// Its version.
    pub version: SharedText,
    /// As the rollout sees it.
    pub node: RolloutNode,
}

/// Every node that has a state object of an application, by name.
#[must_use]
pub fn nodes(view: View<'_>, presence: Presence) -> BTreeMap<String, SeenNode> {
    let agents: HashSet<&str> = view.agents().map(|node| &**node).collect();
    let selected: HashSet<&str> = view.selected().map(|(name, _)| &**name).collect();
    let mut nodes: BTreeMap<String, SeenNode> = BTreeMap::new();
    for answer in view.answer_of_each().into_values().filter(|answer| !answer.deleting) {
        let Some(node) = view.node(&answer.node) else { continue };
        let kernel = answer.kernel.as_deref().unwrap_or(&node.kernel);
        let there = presence == Presence::Everywhere || agents.contains(&*answer.node);
        let seen = SeenNode {
            object: answer.object.clone(),
            version: answer.version.clone(),
            node: RolloutNode {
                selected: selected.contains(&*answer.node),
                // Without a kernel nothing is known of it yet, not even which group it is in.
                present: there && !kernel.is_empty(),
                kernel: kernel.to_owned(),
                composition: text(answer.composition.as_ref()).unwrap_or_default(),
                orders: answer.orders.map(str::to_owned),
                observed: text(answer.revision.as_ref()),
                health: health(answer),
                digest: text(answer.digest.as_ref()),
                message: answer
                    .failure
                    .as_ref()
                    .map(|failure| failure.message.to_string())
                    .unwrap_or_default(),
                preflight: answer.preflight.as_deref().cloned(),
                gates: answer.health.as_deref().cloned(),
            },
        };
        nodes.insert(answer.node.to_string(), seen);
    }
    nodes
}

fn text(text: Option<&SharedText>) -> Option<String> {
    text.map(|text| text.to_string())
}

fn health(answer: &NodeAnswer) -> NodeHealth {
    match answer.outcome {
        NodeOutcome::Success | NodeOutcome::NotSelected => NodeHealth::Healthy,
        NodeOutcome::Pending | NodeOutcome::Unloaded => NodeHealth::Pending,
        NodeOutcome::Error => {
            let reason = answer.failure.as_ref().and_then(|failure| NodeReason::from_name(&failure.reason));
            if reason.is_some_and(NodeReason::is_passing) { NodeHealth::Pending } else { NodeHealth::Failed }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

//! Observation of an application and its nodes for a rollout decision. Pure.

use std::collections::{BTreeMap, HashSet};

use bpfman_apply::node_reason::NodeReason;

use crate::controller::decide::summarize::Presence;
use crate::controller::memory::View;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{NodeAnswer, NodeOutcome};
use crate::rollout::{NodeHealth, RolloutNode};

/// Node with the state object that holds its orders.
#[derive(Clone, Debug)]
pub struct NodeView {
    pub object: SharedText,
    /// Resource version of the state object.
    pub version: SharedText,
    /// Node as the rollout decision sees it.
    pub node: RolloutNode,
}

/// Returns all nodes that have a state object of the application, by name.
#[must_use]
pub fn nodes(view: View<'_>, presence: Presence) -> BTreeMap<String, NodeView> {
    let agents: HashSet<&str> = view.agents().map(|node| &**node).collect();
    let selected: HashSet<&str> = view.selected().map(|(name, _)| &**name).collect();
    let mut nodes: BTreeMap<String, NodeView> = BTreeMap::new();
    for answer in view.answer_of_each().into_values().filter(|answer| !answer.deleting) {
        let Some(node) = view.node(&answer.node) else { continue };
        let kernel = answer.kernel.as_deref().unwrap_or(&node.kernel);
        let there = presence == Presence::Everywhere || agents.contains(&*answer.node);
        let seen = NodeView {
            object: answer.object.clone(),
            version: answer.version.clone(),
            node: RolloutNode {
                selected: selected.contains(&*answer.node),
                // Without a kernel the node has not reported yet, so its group is unknown.
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

//! An application and its nodes as a rollout sees them. Pure.

use std::collections::{BTreeMap, HashSet};

use bpfman_application::orders::NodeOrders;
use bpfman_application::state::node::{HealthAnswer, PreflightAnswer};

use crate::controller::memory::View;
use crate::controller::projection::{Answer, Outcome};
use crate::controller::summarize::Presence;
use crate::controller::text::Text;
use crate::rollout::{Health, Node};

/// Failures that may be over at the next try: a node that has one is waited for until the deadline.
///
/// What an interface, a pod or a network namespace lacks now it may have in a second: they come and go on every node, all
/// the time. A registry, a daemon, the API server and its secrets may be away. What the kernel, the signature or the
/// policy refuses stays refused.
const PASSING: [&str; 8] =
    ["registry", "daemon-away", "node-gone", "attach-point", "not-found", "pull-secret", "revision", "busy"];

/// A node and the state object through which it is told.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Name of the state object.
    pub object: Text,
    /// Its version.
    pub version: Text,
    /// As the rollout sees it.
    pub node: Node,
}

/// Every node that has a state object of an application, by name.
#[must_use]
pub fn nodes(view: View<'_>, presence: Presence) -> BTreeMap<String, Seen> {
    let agents: HashSet<&str> = view.agents().map(|node| &**node).collect();
    let selected: HashSet<&str> = view.selected().map(|(name, _)| &**name).collect();
    let mut nodes: BTreeMap<String, Seen> = BTreeMap::new();
    for answer in view.answer_of_each().into_values().filter(|answer| !answer.deleting) {
        let Some(node) = view.node(&answer.node) else { continue };
        let kernel = answer.kernel.as_deref().unwrap_or(&node.kernel);
        let there = presence == Presence::Everywhere || agents.contains(&*answer.node);
        let seen = Seen {
            object: answer.object.clone(),
            version: answer.version.clone(),
            node: Node {
                selected: selected.contains(&*answer.node),
                // Without a kernel nothing is known of it yet, not even which group it is in.
                present: there && !kernel.is_empty(),
                kernel: kernel.to_owned(),
                composition: text(answer.composition.as_ref()).unwrap_or_default(),
                orders: told(answer),
                observed: text(answer.revision.as_ref()),
                health: health(answer),
                digest: text(answer.digest.as_ref()),
                message: answer
                    .failure
                    .as_ref()
                    .map(|failure| failure.message.to_string())
                    .unwrap_or_default(),
                preflight: answer.trial.as_ref().map(|trial| PreflightAnswer {
                    revision: trial.revision.to_string(),
                    verdict: trial.verdict,
                    message: trial.message.to_string(),
                    digest: text(trial.digest.as_ref()),
                    verified_instructions: None,
                }),
                gates: answer.health.as_ref().map(|health| HealthAnswer {
                    revision: health.revision.to_string(),
                    within: health.within,
                    message: health.message.to_string(),
                }),
            },
        };
        nodes.insert(answer.node.to_string(), seen);
    }
    nodes
}

fn text(text: Option<&Text>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// What the node was told.
#[must_use]
pub fn told(answer: &Answer) -> NodeOrders {
    let orders = &answer.orders;
    NodeOrders {
        revision: text(orders.revision.as_ref()),
        preflight: text(orders.preflight.as_ref()),
        soak: text(orders.soak.as_ref()),
    }
}

fn health(answer: &Answer) -> Health {
    match answer.outcome {
        Outcome::Success | Outcome::NotSelected => Health::Healthy,
        Outcome::Pending | Outcome::Unloaded => Health::Pending,
        Outcome::Error => match &answer.failure {
            Some(failure) if PASSING.contains(&&*failure.reason) => Health::Pending,
            _ => Health::Failed,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

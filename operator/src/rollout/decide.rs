use std::collections::BTreeMap;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::RolloutStatus;

use super::observation::Observation;
use super::place;
use super::turn::RolloutTurn;

/// Maximum number of steps in one decision, above the number of waves: ends a loop between two phases.
const STEPS: usize = 80;

/// Changes to write: first the status, then the orders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutDecision {
    /// New status; equal to the old one if nothing changes.
    pub status: RolloutStatus,
    /// New orders of the nodes for which they change.
    pub orders: BTreeMap<String, NodeOrders>,
    pub events: Vec<Event>,
}

/// Event of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Reason, in one word.
    pub reason: &'static str,
    pub message: String,
    pub warning: bool,
}

/// Decides on the next changes. After a decision is carried out, the next one changes nothing.
#[must_use]
pub fn decide(seen: &Observation) -> RolloutDecision {
    let mut turn = RolloutTurn::new(seen);
    turn.follow_spec();
    turn.obey();
    for _ in 0..STEPS {
        if !turn.advance() {
            break;
        }
    }
    let has_preflight = turn.has_preflight();
    let orders = place::orders(seen, &turn.status, has_preflight);
    let told = |(name, orders): (&String, &NodeOrders)| {
        let before = seen.nodes.get(name).map(|node| &node.orders);
        before.is_none_or(|before| before.revision != orders.revision || orders.preflight.is_some())
    };
    if turn.status.target_revision.is_some() && orders.iter().any(told) {
        turn.status.ordered_at = Some(seen.now.text());
    }
    RolloutDecision { status: turn.status, orders, events: turn.events }
}

/// Returns changed orders for an application without a rollout: no revision or soak for a later one.
#[must_use]
pub fn clear(nodes: &BTreeMap<String, NodeOrders>) -> BTreeMap<String, NodeOrders> {
    nodes
        .iter()
        .filter(|(_, orders)| orders.revision.is_some() || orders.soak.is_some())
        .map(|(name, orders)| {
            (name.clone(), NodeOrders { preflight: orders.preflight.clone(), ..NodeOrders::default() })
        })
        .collect()
}

//! The decision.

use std::collections::BTreeMap;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::RolloutStatus;

use super::observation::Observation;
use super::place;
use super::turn::RolloutTurn;

/// Steps in one decision: more than there are waves, and an end if two phases ever disagreed.
const STEPS: usize = 80;

/// What is to be written: first the status, then the orders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutDecision {
    /// The new status; equal to the old one if nothing changes.
    pub status: RolloutStatus,
    /// What nodes are told, for those for which it changes.
    pub orders: BTreeMap<String, NodeOrders>,
    /// What users are told.
    pub events: Vec<Event>,
}

/// An event of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Something that somebody should look at.
    pub warning: bool,
}

/// Decides. The same observation gives the same decision; one in which it is carried out gives no other.
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

/// What is to be written for an application without a rollout: nodes act on its spec, and no order may be left that
/// would hold once there is a rollout again.
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

//! How the nodes that have a revision are doing.

use super::amounts;
use super::observation::{NodeHealth, Observation, RolloutNode};

/// Nodes of the waves up to now.
#[derive(Debug, Default)]
pub struct Count {
    /// Nodes that the rollout is for: selected, whether their agent is there or not.
    pub total: usize,
    /// Of these, those whose agent is not there and that were not told to run the revision: no wave reaches them.
    pub away: usize,
    /// Of these, those that were told to run the revision.
    pub members: usize,
    /// Of the members, those that have not answered.
    pub changing: usize,
    /// Of the members, those that failed or break a gate.
    pub failed: usize,
    /// Of the members, those that said nothing about the gates yet.
    pub unanswered: usize,
    /// Nodes that were told to run something and are not well.
    pub unavailable: usize,
    /// The first that failed, and why.
    pub example: Option<(String, String)>,
    /// The first that has not answered.
    pub silent: Option<String>,
}

impl Count {
    /// Of a revision.
    pub fn of(seen: &Observation, target: &str) -> Self {
        let mut count = Self::default();
        let gates = seen.rollout.gates.is_some();
        for (name, node) in &seen.nodes {
            if !node.selected {
                continue;
            }
            count.total += 1;
            let member = node.has(target);
            if !member && !node.present {
                count.away += 1;
                continue;
            }
            let well = node.progress() == NodeHealth::Healthy;
            if !node.is_fresh() && (!well || (member && gates && broken(node).is_some())) {
                count.unavailable += 1;
            }
            if member {
                count.member(name, node, gates);
            }
        }
        count
    }

    fn member(&mut self, name: &str, node: &RolloutNode, gates: bool) {
        self.members += 1;
        let why = match node.progress() {
            NodeHealth::Pending => {
                self.changing += 1;
                self.silent.get_or_insert_with(|| name.to_owned());
                return;
            }
            NodeHealth::Failed => Some(node.message.clone()),
            NodeHealth::Healthy if gates => {
                let answered = node
                    .gates
                    .as_ref()
                    .is_some_and(|answer| Some(&answer.revision) == node.orders.revision.as_ref());
                self.unanswered += usize::from(!answered);
                broken(node)
            }
            NodeHealth::Healthy => None,
        };
        if let Some(why) = why {
            self.failed += 1;
            self.example.get_or_insert_with(|| (name.to_owned(), why));
        }
    }

    /// Nodes that a wave may be made of now.
    pub const fn reachable(&self) -> usize {
        self.total - self.away
    }

    /// How many nodes have the revision after a wave, counted from 1.
    ///
    /// Nodes that are away count: if only those that are there did, the waves of a fleet that is cut in two would grow
    /// over all of its smaller half, call the revision good, and give it to the other half at once when that comes back.
    /// A few dead nodes must not stop a fleet, though. So as many as a first wave may have are left out: they are no
    /// larger a risk when they get the revision later than the first wave was.
    pub fn after_wave(&self, seen: &Observation, wave: usize) -> usize {
        let amount = amounts::after_wave(&seen.rollout, wave, self.total);
        if self.away <= amounts::first_wave(&seen.rollout, self.total) {
            amount.min(self.reachable())
        } else {
            amount
        }
    }

    /// Whether more nodes are without the revision than a first wave has.
    pub fn lacks_many(&self, seen: &Observation) -> bool {
        self.total - self.members > amounts::first_wave(&seen.rollout, self.total)
    }

    /// Whether a wave of this size waits for nodes that are away, and for nothing else.
    pub fn waits_for_away(&self, amount: usize) -> bool {
        self.changing == 0 && self.members >= self.reachable() && self.members < amount
    }

    /// How many members may fail.
    pub fn allowed(&self, seen: &Observation, tolerated: i32) -> usize {
        amounts::failures(&seen.rollout, self.reachable()) + usize::try_from(tolerated).unwrap_or(0)
    }

    /// How many nodes may be in change or not well.
    pub fn budget(&self, seen: &Observation, tolerated: i32) -> usize {
        amounts::unavailable(&seen.rollout, self.reachable())
            .saturating_add(usize::try_from(tolerated).unwrap_or(0))
    }

    /// The failures, for people.
    pub fn failures(&self) -> String {
        let of = format!("{} of {} nodes failed", self.failed, self.members);
        self.example.as_ref().map_or_else(|| of.clone(), |(node, why)| format!("{of}, first {node}: {why}"))
    }
}

/// The gate that a node breaks, with what it runs now.
fn broken(node: &RolloutNode) -> Option<String> {
    let answer = node.gates.as_ref()?;
    (!answer.within && Some(&answer.revision) == node.orders.revision.as_ref())
        .then(|| format!("gate broken: {}", answer.message))
}

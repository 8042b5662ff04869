use super::amounts;
use super::observation::{NodeHealth, Observation, RolloutNode};

#[derive(Debug, Default)]
pub struct Count {
    pub total: usize,
    /// Selected nodes without agent and without order: no wave reaches them.
    pub away: usize,
    pub members: usize,
    pub changing: usize,
    pub failed: usize,
    pub unanswered: usize,
    pub unavailable: usize,
    pub example: Option<(String, String)>,
    pub silent: Option<String>,
}

impl Count {
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

    pub const fn reachable(&self) -> usize {
        self.total - self.away
    }

    /// Returns the number of nodes that have the revision after a wave. Absent nodes count: otherwise, the
    /// rest of a partitioned fleet would get the revision at once when it returns. They are left out if there
    /// are no more than a first wave has, so that a few dead nodes do not stop a fleet.
    pub fn after_wave(&self, seen: &Observation, wave: usize) -> usize {
        let amount = amounts::after_wave(&seen.rollout, wave, self.total);
        if self.away <= amounts::first_wave(&seen.rollout, self.total) {
            amount.min(self.reachable())
        } else {
            amount
        }
    }

    pub fn lacks_many(&self, seen: &Observation) -> bool {
        self.total - self.members > amounts::first_wave(&seen.rollout, self.total)
    }

    pub fn waits_for_away(&self, amount: usize) -> bool {
        self.changing == 0 && self.members >= self.reachable() && self.members < amount
    }

    pub fn allowed(&self, seen: &Observation, tolerated: i32) -> usize {
        amounts::failures(&seen.rollout, self.reachable()) + usize::try_from(tolerated).unwrap_or(0)
    }

    pub fn budget(&self, seen: &Observation, tolerated: i32) -> usize {
        amounts::unavailable(&seen.rollout, self.reachable())
            .saturating_add(usize::try_from(tolerated).unwrap_or(0))
    }

    pub fn failures(&self) -> String {
        let of = format!("{} of {} nodes failed", self.failed, self.members);
        self.example.as_ref().map_or_else(|| of.clone(), |(node, why)| format!("{of}, first {node}: {why}"))
    }
}

fn broken(node: &RolloutNode) -> Option<String> {
    let answer = node.gates.as_ref()?;
    (!answer.within && Some(&answer.revision) == node.orders.revision.as_ref())
        .then(|| format!("gate broken: {}", answer.message))
}

//! Groups of paths that meet at an instruction: those of a group share a copy of the following code.

use crate::share::condition::JumpTest;
use crate::share::state::{PathFacts, TrackedValue};
use crate::share::walk::{PathEdge, Walk};
use crate::text::scan::{Effect, effect, target};

/// Paths that reach an instruction with the same decided tests.
struct Group {
    /// Result of the jump at the instruction, if a register with a constant (mostly a verdict) decides it.
    jumps: Option<bool>,
    decided: Vec<(JumpTest, bool)>,
    /// Number of instructions that are decided.
    score: usize,
    /// Expected share of packets, relative.
    weight: u128,
    edges: Vec<Option<PathEdge>>,
    state: PathFacts,
}

/// Maximum number of jumps that are followed to a test.
const MAX_JUMPS: usize = 3;

/// Maximum number of groups that are compared with each other.
const MAX_COMPARED: usize = 6;

impl Walk<'_> {
    /// Groups the paths to a leader: each group gets a copy of the code. Paths with equal facts form a group; if there are
    /// too many groups, the most similar ones are merged.
    pub(super) fn grouped(
        &self,
        leader: usize,
        arrivals: Vec<(Option<PathEdge>, PathFacts)>,
    ) -> Vec<(Vec<Option<PathEdge>>, PathFacts)> {
        if self.loops.contains(&leader) {
            let edges = arrivals.into_iter().map(|(edge, _)| edge).collect();
            return vec![(edges, PathFacts::of_nothing(self.context_in_loops()))];
        }
        if arrivals.len() == 1 {
            let alone = |(edge, mut state)| {
                self.plan.prune(leader, &mut state);
                (vec![edge], state)
            };
            return arrivals.into_iter().map(alone).collect();
        }
        let mut groups: Vec<Group> = Vec::new();
        for (edge, mut state) in arrivals {
            self.plan.prune(leader, &mut state);
            let group = self.group(leader, vec![edge], state);
            match groups.iter_mut().find(|one| (one.jumps, &one.decided) == (group.jumps, &group.decided)) {
                Some(same) => {
                    same.weight = same.weight.saturating_add(group.weight);
                    same.edges.extend(group.edges);
                    same.state.join(&group.state, &self.expressions);
                }
                None => groups.push(group),
            }
        }
        let mut kept = Vec::new();
        for jumps in [None, Some(false), Some(true)] {
            let mut alike: Vec<Group> = groups.extract_if(.., |group| group.jumps == jumps).collect();
            while alike.len() > self.copies {
                let Some((one, other, joined)) = self.most_alike(leader, &alike) else { break };
                alike.remove(other);
                alike[one] = joined;
            }
            kept.extend(alike);
        }
        let mut groups = kept;
        groups.sort_by_key(|group| std::cmp::Reverse(group.score));
        groups.into_iter().map(|group| (group.edges, group.state)).collect()
    }

    fn group(&self, leader: usize, edges: Vec<Option<PathEdge>>, state: PathFacts) -> Group {
        let (decided, score) = self.plan.decided(leader, &state, &self.expressions);
        // Paths with many facts have gone through many tests, and most packets are expected there. With a lower power,
        // merges with paths that left earlier lose too many of these facts.
        let jumps = self.next_jump(leader, &state);
        Group { jumps, decided, score, weight: (score as u128).pow(4), edges, state }
    }

    fn next_jump(&self, leader: usize, state: &PathFacts) -> Option<bool> {
        if self.copies == 1 {
            return None;
        }
        let mut at = leader;
        for _ in 0..MAX_JUMPS {
            let insn = *self.subject.insns.get(at)?;
            match effect(insn, None) {
                Effect::Jump { distance, conditional: false } => at = target(at, distance)?,
                Effect::Jump { conditional: true, .. } => {
                    let Some(TrackedValue::Known(id)) = state.registers.get(usize::from(insn.dst())) else {
                        return None;
                    };
                    self.expressions.as_number(*id)?;
                    let (condition, jumps) = JumpTest::of(insn, state, &self.expressions)?;
                    return condition.decide(state, &self.expressions).map(|holds| holds == jumps);
                }
                _ => return None,
            }
        }
        None
    }

    /// Returns the indexes of the two groups whose merge loses the fewest decided tests, and the merged group.
    fn most_alike(&self, leader: usize, groups: &[Group]) -> Option<(usize, usize, Group)> {
        // If there are too many groups to compare, merge the last two.
        let pairs = match groups.len() {
            0..=MAX_COMPARED => {
                (1..groups.len()).flat_map(|other| (0..other).map(move |one| (one, other))).collect()
            }
            many => vec![(many - 2, many - 1)],
        };
        let joined = pairs.into_iter().map(|(one, other)| {
            let mut state = groups[one].state.clone();
            state.join(&groups[other].state, &self.expressions);
            let edges = groups[one].edges.iter().chain(&groups[other].edges).copied().collect();
            let mut group = self.group(leader, edges, state);
            let lost = |before: &Group| {
                before.weight.saturating_mul(before.score.saturating_sub(group.score) as u128)
            };
            let lost = lost(&groups[one]).saturating_add(lost(&groups[other]));
            group.weight = groups[one].weight.saturating_add(groups[other].weight);
            (lost, one, other, group)
        });
        let (_, one, other, group) = joined.min_by_key(|(lost, ..)| *lost)?;
        Some((one, other, group))
    }
}

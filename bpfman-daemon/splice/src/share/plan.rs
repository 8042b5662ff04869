//! Facts that are worth keeping: conditions that are tested more than once, and bases that are computed more than once.

use std::collections::{BTreeMap, BTreeSet};

use crate::share::condition::JumpTest;
use crate::share::expression::{ExpressionId, Expressions};
use crate::share::state::PathFacts;

/// Positions of tests and of computed bases, in the order of the walk.
#[derive(Default)]
pub(super) struct SurveyedUses {
    pub(super) tests: Vec<(usize, JumpTest)>,
    /// Position, base, and the constant that the instruction there adds to the base.
    pub(super) bases: Vec<(usize, ExpressionId, i64)>,
}

#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) number: usize,
    /// Constant added to the base in the slot.
    pub(super) by: i64,
    last: usize,
}

#[derive(Default)]
pub(super) struct SharingPlan {
    pub(super) slots: BTreeMap<ExpressionId, Slot>,
    /// By subject, with the positions of each test, ascending.
    tests: BTreeMap<ExpressionId, BTreeMap<JumpTest, Vec<usize>>>,
}

impl SharingPlan {
    /// Makes a plan: bases that are computed most often get the slots.
    pub(super) fn of(found: &SurveyedUses, slots: usize) -> Self {
        let mut tests: BTreeMap<ExpressionId, BTreeMap<JumpTest, Vec<usize>>> = BTreeMap::new();
        for (at, condition) in &found.tests {
            tests.entry(condition.subject()).or_default().entry(*condition).or_default().push(*at);
        }
        for positions in tests.values_mut().flat_map(BTreeMap::values_mut) {
            positions.sort_unstable();
            positions.dedup();
        }
        tests.retain(|_, conditions| conditions.values().flatten().collect::<BTreeSet<_>>().len() > 1);
        let mut bases: BTreeMap<ExpressionId, (BTreeSet<usize>, i64)> = BTreeMap::new();
        for (at, base, by) in &found.bases {
            bases.entry(*base).or_insert_with(|| (BTreeSet::new(), *by)).0.insert(*at);
        }
        let mut wanted: Vec<_> =
            bases.into_iter().filter(|(base, (at, _))| at.len() > 1 && tests.contains_key(base)).collect();
        wanted.sort_by_key(|(_, (at, _))| std::cmp::Reverse(at.len()));
        wanted.truncate(slots);
        let slots = wanted.into_iter().enumerate().map(|(number, (base, (at, by)))| {
            let last = at.last().copied().unwrap_or_default();
            (base, Slot { number, by, last })
        });
        Self { slots: slots.collect(), tests }
    }

    /// Removes facts that no instruction at or behind a position uses.
    pub(super) fn prune(&self, at: usize, state: &mut PathFacts) {
        let tested = |subject: &ExpressionId| {
            let positions = self.tests.get(subject).into_iter().flat_map(BTreeMap::values);
            positions.filter_map(|positions| positions.last()).any(|last| *last >= at)
        };
        state.ranges.retain(|number, _| tested(number));
        let slots = &self.slots;
        state.saved.retain(|base| slots.get(base).is_some_and(|slot| slot.last >= at));
        let saved = &state.saved;
        state.bounds.retain(|base, _| saved.contains(base) && tested(base));
    }

    /// Returns the tests at or behind a position that the facts decide, and the number of their instructions.
    pub(super) fn decided(
        &self,
        at: usize,
        state: &PathFacts,
        expressions: &Expressions,
    ) -> (Vec<(JumpTest, bool)>, usize) {
        let mut decided = Vec::new();
        let mut score = 0;
        for subject in state.ranges.keys().chain(state.bounds.keys()) {
            for (condition, positions) in self.tests.get(subject).into_iter().flatten() {
                let later = positions.len() - positions.partition_point(|position| *position < at);
                if later > 0
                    && let Some(holds) = condition.decide(state, expressions)
                {
                    decided.push((*condition, holds));
                    score += later;
                }
            }
        }
        (decided, score)
    }
}

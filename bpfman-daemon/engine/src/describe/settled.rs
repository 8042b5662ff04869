//! Consistent observations without locks: an apparent difference from the records may be a change in progress.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bpfman_model::{HookKey, LinkId};
use bpfmand_kernel::Kernel;

use crate::describe::links::Running;
use crate::engine::locks::{Guard, Subject};
use crate::state::Standing;
use crate::{Engine, EngineError};

const PAUSE: Duration = Duration::from_millis(2);

/// Remaining time for waiting, shared by all entries of a list.
#[derive(Debug)]
pub struct ObservationBudget(Cell<Duration>);

impl ObservationBudget {
    const fn new(left: Duration) -> Self {
        Self(Cell::new(left))
    }

    fn is_spent(&self) -> bool {
        self.0.get().is_zero()
    }

    fn spend(&self, waited: Duration) {
        self.0.set(self.0.get().saturating_sub(waited));
    }
}

impl Standing {
    pub(super) const fn may_be_half_done(&self) -> bool {
        !matches!(
            self,
            Self::Running
                | Self::Waiting
                | Self::Elsewhere
                | Self::OtherPath { .. }
                | Self::Unreachable
                | Self::Changing
                | Self::Ended { .. }
                | Self::Unattached { .. }
                | Self::PlaceGone { .. }
                | Self::ModuleGone { .. }
                | Self::NotLoaded { .. }
                | Self::Withheld { .. }
                | Self::OldFile { .. }
        )
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn observation_budget(&self) -> ObservationBudget {
        ObservationBudget::new(self.options.observation_wait)
    }

    /// Observes an object. If it may be changing, observes it again under the locks of its subjects; if these are not
    /// free before the budget is spent, its standing is [`Standing::Changing`]. The caller holds none of the locks.
    pub(super) fn settled<T>(
        &self,
        budget: &ObservationBudget,
        observe: impl Fn() -> Result<T, EngineError>,
        standing_of: impl Fn(&mut T) -> Option<&mut Standing>,
        subjects: impl Fn() -> Vec<Subject>,
    ) -> Result<T, EngineError> {
        let mut seen = observe()?;
        while standing_of(&mut seen).is_some_and(|standing| standing.may_be_half_done()) {
            let held: Option<Vec<Guard>> =
                subjects().into_iter().map(|subject| self.try_lock(subject)).collect();
            if held.is_some() {
                return observe();
            }
            if budget.is_spent() {
                if let Some(standing) = standing_of(&mut seen) {
                    *standing = Standing::Changing;
                }
                break;
            }
            let began = Instant::now();
            std::thread::sleep(PAUSE);
            seen = observe()?;
            budget.spend(began.elapsed());
        }
        Ok(seen)
    }

    pub(super) fn settled_chain(
        &self,
        budget: &ObservationBudget,
        key: &HookKey,
    ) -> Result<Option<Running>, EngineError> {
        self.settled(
            budget,
            || {
                let hook = self.state().hooks.get(key).cloned();
                hook.map(|hook| self.running_chain(&hook)).transpose()
            },
            |running| running.as_mut().map(|running| &mut running.standing),
            || vec![Subject::Hook(*key)],
        )
    }

    pub(super) fn subjects_of(&self, id: LinkId) -> Vec<Subject> {
        let Some(link) = self.state().links.get(&id).cloned() else { return Vec::new() };
        [Subject::Program(link.program)].into_iter().chain(link.hook.map(Subject::Hook)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_all_entries_spend_one_budget() {
        let budget = ObservationBudget::new(PAUSE);
        budget.spend(PAUSE / 2);
        assert!(!budget.is_spent());
        budget.spend(PAUSE);
        assert!(budget.is_spent());
    }
}

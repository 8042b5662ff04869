//! Switches of one hook: counting, holding, functions for tracing tools, staying attached, timing.

use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface, LinkId, Owner};
use bpfmand_kernel::Kernel;

use crate::chain::client_timing::ensure_can_be_timed;
use crate::engine::locks::Subject;
use crate::engine::undo::undoing;
use crate::state::Changes;
use crate::state::chain_record::{Hold, HookSettings};
use crate::state::records::{HookRecord, LeftoverRecord};
use crate::{Engine, EngineError};

/// What is to become of a hook's switches; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookChange {
    /// Count where packets leave the chain.
    pub counters: Option<bool>,
    /// Freeze the chain: refuse its changes.
    pub held: Option<bool>,
    /// Seconds until a freeze that this change makes ends; none: [`crate::DEFAULT_FREEZE_SECONDS`].
    pub held_seconds: Option<u64>,
    /// Make every member a function of its own, so that tracing tools see members.
    pub as_subprograms: Option<bool>,
    /// Keep a program that passes everything when the last member leaves. Until the machine is started again.
    pub keep_attached: Option<bool>,
    /// Sample the time that members take.
    pub timing: Option<bool>,
}

/// Caller that changes switches of a hook.
#[derive(Clone, Debug)]
pub struct SwitchCaller<'a> {
    /// For those who find the hook frozen: "user 0".
    pub by: &'a str,
    /// Owner of a freeze that it makes.
    pub owner: Owner,
    /// The members over which it was found to have a right, in any order; none: all.
    pub members: Option<&'a [LinkId]>,
    /// It may stop counting members whose owner has a limited budget, which counts them.
    pub stops_budgets: bool,
}

/// Root, by this name.
impl<'a> From<&'a str> for SwitchCaller<'a> {
    fn from(by: &'a str) -> Self {
        Self { by, owner: Owner::Root, members: None, stops_budgets: true }
    }
}

/// A hook's switches as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSwitches {
    /// Whether it counts now.
    pub counters: bool,
    /// Who holds it.
    pub held_by: Option<String>,
    /// Every member is a function.
    pub as_subprograms: bool,
    /// Something stays when the last member leaves.
    pub keep_attached: bool,
    /// Time is sampled.
    pub timing: bool,
}

impl<K: Kernel> Engine<K> {
    /// Changes switches of a hook. Returns whether anything changed.
    ///
    /// # Errors
    /// No program of ours is there; it has other members than the caller has a right over; the hook is frozen and is not
    /// released by this; a budget needs the counters; the time of a freeze is not possible; the chain cannot be built in
    /// another way. Nothing was changed then.
    pub fn set_hook<'a>(
        &self,
        interface: &Interface,
        kind: HookKind,
        change: &HookChange,
        caller: impl Into<SwitchCaller<'a>>,
    ) -> Result<bool, EngineError> {
        let caller = caller.into();
        let hold = self.hold_of(change, &caller)?;
        self.begin()?;
        let key = self.hook_by_name(interface, kind)?;
        self.clear_of_moved(&key)?;
        let _lock = self.lock(Subject::Hook(key));
        let hook = self.state().hooks.get(&key).cloned();
        let hook = hook.ok_or_else(|| EngineError::NoChain { hook: key.kind.at(interface) })?;
        self.ensure_members(&key, caller.members)?;
        if change.timing == Some(true) {
            ensure_can_be_timed(&hook)?;
        }
        if change.counters == Some(false) && !caller.stops_budgets {
            self.ensure_no_budget_counts(&key)?;
        }
        // One that is over keeps nothing.
        let there = hook.settings.held.clone().filter(|hold| !self.is_over(hold));
        let settings = changed(&hook.settings, there, change, hold);
        if settings == hook.settings {
            return Ok(false);
        }
        if change.held != Some(false) {
            self.ensure_not_frozen(&key)?;
        }
        let links = self.state().chain(&key);
        if links.is_empty() && !settings.keep_attached {
            self.end_hook(&hook)?;
            return Ok(true);
        }
        let shape = |settings: &HookSettings| (settings.counters, settings.timing, settings.as_subprograms);
        let rebuilds = shape(&settings) != shape(&hook.settings);
        let built = if rebuilds && self.is_entered(&hook)? {
            self.step("set", "build chain");
            Some(self.build_chain_as(&key, &hook.interface, &links, Some(hook.entry), &settings)?)
        } else {
            None
        };
        undoing(|undo| {
            let mut record = (*hook).clone();
            if let Some(built) = &built {
                self.change_chain(&hook, built, undo)?;
                record = built.recorded(record);
            }
            record.settings = settings;
            self.step("set", "record");
            self.record_hook(record)
        })?;
        built.map_or(Ok(()), |built| self.settle_chain(built)).map(|()| true)
    }

    /// The switches of a hook.
    pub(crate) fn switches_of(&self, hook: &HookRecord) -> HookSwitches {
        HookSwitches {
            counters: hook.chain.as_ref().is_some_and(|chain| chain.counters.is_some()),
            held_by: hook
                .settings
                .held
                .as_ref()
                .filter(|hold| !self.is_over(hold))
                .map(|hold| hold.by.clone()),
            as_subprograms: hook.settings.as_subprograms,
            keep_attached: hook.settings.keep_attached,
            timing: hook.settings.timing,
        }
    }

    pub(crate) fn settings_of(&self, key: &HookKey) -> HookSettings {
        self.state().hooks.get(key).map(|hook| hook.settings.clone()).unwrap_or_default()
    }

    /// True if something is to stay at a hook when its last member leaves.
    pub(crate) fn is_kept_attached(&self, key: &HookKey) -> bool {
        self.settings_of(key).keep_attached
    }

    /// Refuses to stop counting a member that a budget measures.
    fn ensure_no_budget_counts(&self, key: &HookKey) -> Result<(), EngineError> {
        let links = self.state().chain(key);
        let measured =
            links.iter().find_map(|link| self.record(link.program).filter(|of| of.budget.is_measured()));
        match measured {
            None => Ok(()),
            Some(program) => Err(EngineError::CountsForBudget {
                hook: self.text_of_hook(key),
                program: program.id,
                name: program.name.clone(),
            }),
        }
    }

    /// Ends a hook that has no members.
    fn end_hook(&self, hook: &Arc<HookRecord>) -> Result<(), EngineError> {
        let operation = self.operation();
        let mut leftover = LeftoverRecord::default();
        self.leave_entry(hook, &mut leftover);
        let mut changes = Changes::default();
        changes.end_hook(hook.key);
        changes.leave(operation, leftover.clone());
        self.step("set", "record");
        let waiting = self.commit(changes)?.leaving(leftover, vec![hook.key]);
        self.clear_or_wait("set", waiting)
    }
}

/// The settings behind a change. A freeze that is there stays as it is: freezing again makes it no longer.
fn changed(old: &HookSettings, there: Option<Hold>, change: &HookChange, hold: Option<Hold>) -> HookSettings {
    HookSettings {
        counters: change.counters.or(old.counters),
        held: if change.held == Some(false) { None } else { there.or(hold) },
        as_subprograms: change.as_subprograms.unwrap_or(old.as_subprograms),
        keep_attached: change.keep_attached.unwrap_or(old.keep_attached),
        timing: change.timing.unwrap_or(old.timing),
    }
}

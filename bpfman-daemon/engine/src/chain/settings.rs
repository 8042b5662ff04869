//! Switches of a hook: counting, freezing, members as functions, staying attached, timing.

use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{HookKey, HookKind, Interface, LinkId, Optimisation, Owner};
use bpfmand_kernel::Kernel;

use crate::chain::client_measurements::ensure_can_be_measured;
use crate::engine::undo::undoing;
use crate::state::Changes;
use crate::state::chain_record::{Hold, HookSettings};
use crate::state::records::{HookRecord, LeftoverRecord};
use crate::{Engine, EngineError};

/// Changes of the switches of a hook; `None` leaves a switch unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookChange {
    /// Count packets where they leave the chain.
    pub counters: Option<bool>,
    /// Freeze the chain, so that changes are refused.
    pub held: Option<bool>,
    /// Duration of the new freeze, in seconds; `None`: [`crate::DEFAULT_FREEZE_SECONDS`].
    pub held_seconds: Option<u64>,
    /// Make every member a function of its own, which makes members visible to tracing tools.
    pub as_subprograms: Option<bool>,
    /// Keep a program that passes all packets attached after the last member leaves, until the next reboot.
    pub keep_attached: Option<bool>,
    /// Sample the time of members.
    pub timing: Option<bool>,
    /// Optimise the chain up to this level.
    pub optimisation: Option<Optimisation>,
}

impl HookChange {
    /// Returns whether the change concerns only counters and timing.
    #[must_use]
    pub fn measures_only(&self) -> bool {
        let Self { counters, timing, .. } = *self;
        *self == Self { counters, timing, ..Self::default() }
    }
}

/// Caller that changes switches of a hook.
#[derive(Clone, Debug)]
pub struct SwitchCaller<'a> {
    /// Name of the caller in errors about the frozen hook: "user 0".
    pub by: &'a str,
    /// Owner that is recorded for the switches and the freeze.
    pub owner: Owner,
    /// Right of the caller over the members.
    pub right: SwitchRight<'a>,
    /// Owner of the freeze that the caller may release; root may release any.
    pub releases: Option<Owner>,
}

/// Right of a caller over the members of a hook.
#[derive(Clone, Copy, Debug)]
pub enum SwitchRight<'a> {
    /// Right over all members.
    All,
    /// Right over these members, in any order. They were all members when access was checked.
    Members(&'a [LinkId]),
    /// Right over some members. The caller may enable counters and timing, and reset what its owner enabled.
    Some(&'a [LinkId]),
}

impl<'a> SwitchCaller<'a> {
    /// Creates root as the caller, with this name.
    #[must_use]
    pub const fn root(by: &'a str) -> Self {
        Self { by, owner: Owner::Root, right: SwitchRight::All, releases: None }
    }

    /// Returns whether the caller is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.owner == Owner::Root
    }
}

/// Current switches of a hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSwitches {
    /// True if packets are counted.
    pub counters: bool,
    /// Caller who froze the hook.
    pub held_by: Option<String>,
    /// Time until the freeze ends; `None` if the hook is not frozen, or is frozen until release.
    pub held_for: Option<Duration>,
    /// True if every member is a function.
    pub as_subprograms: bool,
    /// True if a program stays attached when the last member leaves.
    pub keep_attached: bool,
    /// True if time is sampled.
    pub timing: bool,
    /// Highest level of optimisation.
    pub optimisation: Optimisation,
}

impl<K: Kernel> Engine<K> {
    /// Changes switches of a hook. Returns whether anything changed. Fails without a change if the right over the
    /// members is insufficient, the hook is frozen, another caller owns the freeze, the duration is invalid, or the
    /// chain cannot be built with the new switches.
    pub fn set_hook(
        &self,
        interface: &Interface,
        kind: HookKind,
        change: &HookChange,
        caller: &SwitchCaller<'_>,
    ) -> Result<bool, EngineError> {
        let hold = self.hold_of(change, caller)?;
        let _operation = self.begin()?;
        let (key, _lock, hook) = self.lock_hook(interface, kind)?;
        self.ensure_may_switch(&key, &hook.settings, change, caller)?;
        if change.timing == Some(true) {
            ensure_can_be_measured(&hook)?;
        }
        if change.held == Some(false) {
            self.ensure_releasable(&key, &hook.settings, caller)?;
        }
        let there = self.live_hold(&hook.settings).cloned();
        let settings = changed(&hook.settings, there, change, hold, caller);
        if settings == hook.settings {
            return Ok(false);
        }
        if change.held != Some(false) {
            self.ensure_not_frozen_for(&key, &self.owners_switching(&key, change, caller))?;
        }
        let links = self.state().chain(&key);
        if links.is_empty() && !settings.keep_attached {
            self.end_hook(&hook)?;
            return Ok(true);
        }
        let shape = |settings: &HookSettings| {
            let is_roots = settings.counters_by == Some(Owner::Root);
            (settings.counters, is_roots, settings.timing, settings.as_subprograms, settings.optimisation)
        };
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

    pub(crate) fn switches_of(&self, hook: &HookRecord) -> HookSwitches {
        let hold = self.live_hold(&hook.settings);
        HookSwitches {
            counters: hook.chain.as_ref().is_some_and(|chain| chain.counters.is_some()),
            held_by: hold.map(|hold| hold.by.clone()),
            held_for: hold.and_then(|hold| self.left(hold.ends.as_ref())),
            as_subprograms: hook.settings.as_subprograms,
            keep_attached: hook.settings.keep_attached,
            timing: hook.settings.timing,
            optimisation: hook.settings.optimisation,
        }
    }

    pub(crate) fn settings_of(&self, key: &HookKey) -> HookSettings {
        self.state().hooks.get(key).map(|hook| hook.settings.clone()).unwrap_or_default()
    }

    pub(crate) fn is_kept_attached(&self, key: &HookKey) -> bool {
        self.settings_of(key).keep_attached
    }

    /// Returns the owners who may be exempt from a freeze: the caller, and owners of members that it measures.
    fn owners_switching(&self, key: &HookKey, change: &HookChange, caller: &SwitchCaller<'_>) -> Vec<Owner> {
        let counts = |link: LinkId| {
            change.measures_only()
                && match caller.right {
                    SwitchRight::All => true,
                    SwitchRight::Members(of) | SwitchRight::Some(of) => of.contains(&link),
                }
        };
        let members = self.state().chain(key);
        let members = members.iter().filter(|link| counts(link.id));
        let owners = members.filter_map(|link| {
            let program = self.member_record(link.program)?;
            Some(link.owner(&program))
        });
        owners.chain([caller.owner.clone()]).collect()
    }

    fn ensure_may_switch(
        &self,
        key: &HookKey,
        old: &HookSettings,
        change: &HookChange,
        caller: &SwitchCaller<'_>,
    ) -> Result<(), EngineError> {
        let of = match caller.right {
            SwitchRight::All => return Ok(()),
            SwitchRight::Members(seen) => return self.ensure_members(key, Some(seen)),
            SwitchRight::Some(of) => of,
        };
        let is_member = self.state().chain(key).iter().any(|link| of.contains(&link.id));
        let may = |wanted: Option<bool>, set_by: Option<&Owner>| match (wanted, set_by) {
            (None, _) => true,
            (Some(true), None) => is_member,
            (Some(_), by) => by == Some(&caller.owner),
        };
        let counts = change.counters == old.counters || may(change.counters, old.counters_by.as_ref());
        let times = change.timing == Some(old.timing) || may(change.timing, old.timing_by.as_ref());
        if counts && times && change.measures_only() {
            return Ok(());
        }
        Err(EngineError::Denied(format!(
            "not all members of {} are the caller's: it may switch counters and timing on, and off only what it switched on",
            self.text_of_hook(key)
        )))
    }

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

/// Returns the settings after a change. Freezing again does not extend an existing freeze.
fn changed(
    old: &HookSettings,
    there: Option<Hold>,
    change: &HookChange,
    hold: Option<Hold>,
    caller: &SwitchCaller<'_>,
) -> HookSettings {
    let (counters, counters_by) = match (change.counters, caller.right) {
        (None, _) => (old.counters, old.counters_by.clone()),
        (Some(wanted), _) if old.counters == Some(wanted) && !caller.is_root() => {
            (old.counters, old.counters_by.clone())
        }
        (Some(false), SwitchRight::Some(_)) => (None, None),
        (Some(wanted), _) => (Some(wanted), Some(caller.owner.clone())),
    };
    let (timing, timing_by) = match change.timing {
        Some(true) if !old.timing || caller.is_root() => (true, Some(caller.owner.clone())),
        Some(false) => (false, None),
        _ => (old.timing, old.timing_by.clone()),
    };
    HookSettings {
        counters,
        counters_by,
        held: if change.held == Some(false) { None } else { there.or(hold) },
        as_subprograms: change.as_subprograms.unwrap_or(old.as_subprograms),
        keep_attached: change.keep_attached.unwrap_or(old.keep_attached),
        timing,
        timing_by,
        optimisation: change.optimisation.unwrap_or(old.optimisation),
    }
}

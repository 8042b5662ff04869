//! Freezes: the chain of a hook stays unchanged for a limited time, while a caller inspects it.

use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, Owner};
use bpfmand_kernel::Kernel;

use crate::chain::settings::{HookChange, SwitchCaller};
use crate::engine::freeze_exemption::FreezeExemption;
use crate::state::chain_record::{Hold, HookSettings};
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

/// Default duration of a freeze, in seconds: an hour.
pub const DEFAULT_FREEZE_SECONDS: u64 = 3600;
/// Maximum duration of a freeze, in seconds: a day. A frozen hook gets no new versions of programs.
pub const MAX_FREEZE_SECONDS: u64 = 24 * 3600;

impl<K: Kernel> Engine<K> {
    /// Refuses to change these links of a frozen hook. Exemptions depend on the links' owners, not on the caller,
    /// because the node's agent attaches the cluster's firewall. The caller holds the hook's lock.
    pub(crate) fn ensure_not_frozen(
        &self,
        key: &HookKey,
        changed: &[Arc<LinkRecord>],
    ) -> Result<(), EngineError> {
        let owners = changed.iter().map(|link| {
            let of_program = || self.member_record(link.program).map(|program| program.owner());
            link.owner.clone().or_else(of_program)
        });
        self.ensure_not_frozen_for(key, &owners.flatten().collect::<Vec<_>>())
    }

    /// Refuses to change a frozen hook, unless one of these owners is exempt. Root's freezes exempt no owner, all
    /// others exempt root and cluster applications; no freeze prevents the enforcement of a limit. A hook that waits
    /// for its interface is not frozen: it runs nothing, and could not be released.
    pub(crate) fn ensure_not_frozen_for(&self, key: &HookKey, owners: &[Owner]) -> Result<(), EngineError> {
        let settings = self.settings_of(key);
        let Some(hold) = self.live_hold(&settings) else { return Ok(()) };
        let passes = match FreezeExemption::current() {
            FreezeExemption::All => true,
            _ if hold.owner() == Owner::Root => false,
            FreezeExemption::NotRoots => true,
            FreezeExemption::None => owners.iter().any(Owner::is_root_or_cluster),
        };
        if passes || key.netns.id().is_none() {
            return Ok(());
        }
        Err(EngineError::HookOnHold {
            hook: self.text_of_hook(key),
            by: hold.by.clone(),
            left: self.left(hold.ends.as_ref()),
        })
    }

    /// Returns the owner of a hook's freeze; `None` if the hook is not frozen.
    pub fn owner_of_freeze(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Option<Owner>, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        Ok(self.live_hold(&self.settings_of(&key)).map(Hold::owner))
    }

    /// Returns the freeze in force. A freeze of an earlier version has no end: it lasts until it is released.
    pub(crate) fn live_hold<'s>(&self, settings: &'s HookSettings) -> Option<&'s Hold> {
        let is_over = |hold: &Hold| self.left(hold.ends.as_ref()).is_some_and(|left| left.is_zero());
        settings.held.as_ref().filter(|hold| !is_over(hold))
    }

    /// Refuses to release a freeze that was made after access was checked. The caller holds the hook's lock.
    pub(crate) fn ensure_releasable(
        &self,
        key: &HookKey,
        settings: &HookSettings,
        caller: &SwitchCaller<'_>,
    ) -> Result<(), EngineError> {
        match self.live_hold(settings) {
            Some(hold) if !caller.is_root() && Some(hold.owner()) != caller.releases => {
                Err(EngineError::OtherFreeze { hook: self.text_of_hook(key) })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn hold_of(
        &self,
        change: &HookChange,
        caller: &SwitchCaller<'_>,
    ) -> Result<Option<Hold>, EngineError> {
        if change.held != Some(true) {
            return match change.held_seconds {
                None => Ok(None),
                Some(_) => Err(EngineError::Invalid(
                    "a time is given for a freeze, and nothing is frozen".to_owned(),
                )),
            };
        }
        let seconds = change.held_seconds.unwrap_or(DEFAULT_FREEZE_SECONDS);
        if !(1..=MAX_FREEZE_SECONDS).contains(&seconds) {
            return Err(EngineError::Invalid(format!(
                "a freeze of {seconds} s is not possible: expected 1 s to {MAX_FREEZE_SECONDS} s"
            )));
        }
        let ends = self.deadline(Some(seconds))?;
        Ok(Some(Hold { by: caller.by.to_owned(), owner: Some(caller.owner.clone()), ends }))
    }
}

//! Freezes: a hook's chain stays as it is while somebody inspects it, for a time.

use bpfmand_core::{HookKey, HookKind, Interface, Owner};
use bpfmand_kernel::Kernel;

use crate::chain::settings::{HookChange, SwitchCaller};
use crate::engine::acting::Actor;
use crate::state::chain_record::Hold;
use crate::{Engine, EngineError};

/// Seconds that a freeze lasts unless its caller chooses: an hour.
pub const DEFAULT_FREEZE_SECONDS: u64 = 3600;
/// Longest freeze, in seconds: a day. While it lasts, its hook gets no new version of a program.
pub const MAX_FREEZE_SECONDS: u64 = 24 * 3600;

impl<K: Kernel> Engine<K> {
    /// Refuses to change a hook that is frozen for whom this thread works: root's freeze holds off root too, others' do not,
    /// and none holds off a limit. The caller holds the hook's lock. One that waits for its interface runs nothing, and could
    /// not be released.
    pub(crate) fn ensure_not_frozen(&self, key: &HookKey) -> Result<(), EngineError> {
        let Some(hold) = self.settings_of(key).held else { return Ok(()) };
        let passes = match Actor::current() {
            Actor::Limit => true,
            Actor::Root => hold.owner() != Owner::Root,
            Actor::Caller => false,
        };
        if passes || key.netns.id().is_none() || self.is_over(&hold) {
            return Ok(());
        }
        Err(EngineError::HookOnHold { hook: self.text_of_hook(key), by: hold.by })
    }

    /// Returns the owner of a hook's freeze; none if it is not frozen.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn owner_of_freeze(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Option<Owner>, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let hold = self.settings_of(&key).held.filter(|hold| !self.is_over(hold));
        Ok(hold.map(|hold| hold.owner()))
    }

    /// Returns whether a freeze has ended. One from before freezes ended lasts until it is released.
    pub(crate) fn is_over(&self, hold: &Hold) -> bool {
        self.left(hold.ends.as_ref()).is_some_and(|left| left.is_zero())
    }

    /// The freeze that a change makes.
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

//! Members of a hook that are timed while a client watches.
//!
//! The watching clients are known in memory only. A hook's record names the timed twin that runs, but not the request
//! for it: the twin is dropped at the next start, and by any other rebuild of the chain after the client has left.

use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface, LinkId};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Subject;
use crate::engine::undo::undoing;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Samples the time of a hook's members until [`Engine::end_client_timing`] is called with the result. Several
    /// clients may request it at the same time.
    ///
    /// # Errors
    /// Returns an error, and changes nothing, if the hook has none of the daemon's programs; if it has a member that is
    /// not among `seen`, if these are given; if the hook is frozen; or if the time of its members cannot be measured.
    pub fn begin_client_timing(
        &self,
        interface: &Interface,
        kind: HookKind,
        seen: Option<&[LinkId]>,
    ) -> Result<HookKey, EngineError> {
        self.begin()?;
        let key = self.hook_by_name(interface, kind)?;
        self.clear_of_moved(&key)?;
        let _lock = self.lock(Subject::Hook(key));
        let hook = self.state().hooks.get(&key).cloned();
        let hook = hook.ok_or_else(|| EngineError::NoChain { hook: key.kind.at(interface) })?;
        self.ensure_members(&key, seen)?;
        ensure_can_be_timed(&hook)?;
        if !has_twin(&hook) {
            self.ensure_not_frozen_for(&key, &[])?;
        }
        self.client_timing.begin(key);
        self.rebuild_chain(&hook).inspect_err(|_| self.client_timing.end(&key))?;
        Ok(key)
    }

    /// Ends the request of a client. A hook that is gone, or whose own timing switch is on, stays as it is.
    /// `may_build`: the chain may be rebuilt now.
    ///
    /// # Errors
    /// Returns an error if the chain cannot be built without timing: the next change of the hook, or the next start,
    /// does it.
    pub fn end_client_timing(&self, key: &HookKey, may_build: bool) -> Result<(), EngineError> {
        let _lock = self.lock(Subject::Hook(*key));
        self.client_timing.end(key);
        let hook = self.state().hooks.get(key).cloned();
        match hook.filter(|hook| may_build && has_twin(hook)) {
            Some(hook) => self.rebuild_chain(&hook),
            None => Ok(()),
        }
    }

    /// Returns whether a hook runs a timed twin that no client needs any more: it was requested from an earlier daemon.
    pub(crate) fn is_timed_without_client(&self, hook: &HookRecord, links: &[Arc<LinkRecord>]) -> bool {
        if !has_twin(hook) || hook.settings.timing || self.live_hold(&hook.settings).is_some() {
            return false;
        }
        let Ok(members) = self.joined(links) else { return false };
        let kind = self.splice_hook(hook.key.kind, Some(hook.entry), self.is_open(&hook.key, &members));
        !self.wanted(kind, &members, &hook.settings).timing
    }

    /// Has a hook run what it is to run now. The caller holds its lock.
    pub(crate) fn rebuild_chain(&self, hook: &Arc<HookRecord>) -> Result<(), EngineError> {
        let links = self.state().chain(&hook.key);
        if links.is_empty() || !self.is_entered(hook)? {
            return Ok(());
        }
        self.step("time", "build chain");
        let built =
            self.build_chain_as(&hook.key, &hook.interface, &links, Some(hook.entry), &hook.settings)?;
        if built.id == hook.program && built.unsent == hook.unsent {
            return Ok(());
        }
        undoing(|undo| {
            self.change_chain(hook, &built, undo)?;
            self.step("time", "record");
            // Building may have added the counts of a chain before to the record.
            let now =
                self.state().hooks.get(&hook.key).map_or_else(|| (**hook).clone(), |now| (**now).clone());
            self.record_hook(built.recorded(now))
        })?;
        self.settle_chain(built)
    }
}

/// Refuses hooks whose members cannot be timed.
pub(super) fn ensure_can_be_timed(hook: &HookRecord) -> Result<(), EngineError> {
    if hook.entry == Entry::Dispatcher {
        return Err(EngineError::Unsupported(format!(
            "{} is held by libxdp's dispatcher, which calls members one by one: nothing takes their time",
            hook.key.kind.at(&hook.interface)
        )));
    }
    Ok(())
}

fn has_twin(hook: &HookRecord) -> bool {
    hook.chain.as_ref().is_some_and(|chain| chain.twin.is_some())
}

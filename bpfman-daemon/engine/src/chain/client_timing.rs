//! Members of a hook that are timed while a client watches. Clients are known in memory only: the twin is dropped at
//! the next start, and by any other rebuild of the chain after the client has left.

use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, LinkId};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Subject;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Samples the time of a hook's members until [`Engine::end_client_timing`]; several clients may request it. An
    /// error if a member is not among `seen`, if given, or the hook is frozen.
    pub fn begin_client_timing(
        &self,
        interface: &Interface,
        kind: HookKind,
        seen: Option<&[LinkId]>,
    ) -> Result<HookKey, EngineError> {
        let _operation = self.begin()?;
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
        self.rebuild("time", &hook, &hook.withheld).inspect_err(|_| self.client_timing.end(&key))?;
        Ok(key)
    }

    /// Ends the request of a client. `may_build`: the chain may be rebuilt now. After an error, the next change of the
    /// hook or the next start removes the twin.
    pub fn end_client_timing(&self, key: &HookKey, may_build: bool) -> Result<(), EngineError> {
        let _lock = self.lock(Subject::Hook(*key));
        self.client_timing.end(key);
        let hook = self.state().hooks.get(key).cloned();
        match hook.filter(|hook| may_build && has_twin(hook)) {
            Some(hook) => self.rebuild("time", &hook, &hook.withheld),
            None => Ok(()),
        }
    }

    /// Returns whether the chain has a timed twin that a client requested from an earlier daemon.
    pub(crate) fn is_timed_without_client(&self, hook: &HookRecord, links: &[Arc<LinkRecord>]) -> bool {
        if !has_twin(hook) || hook.settings.timing || self.live_hold(&hook.settings).is_some() {
            return false;
        }
        let Ok(members) = self.joined(links) else { return false };
        let kind = self.splice_hook(hook.key.kind, Some(hook.entry), self.is_open(&hook.key, &members));
        !self.wanted(kind, &members, &hook.settings).timing
    }
}

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

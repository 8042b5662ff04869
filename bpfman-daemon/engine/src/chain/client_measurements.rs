//! Members of a hook that are timed or counted while a client watches. Clients are known in memory only: twin and
//! counters are dropped at the next start, and by any other rebuild of the chain after the client has left.

use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, Interface, LinkId};
use bpfmand_kernel::Kernel;

use crate::engine::client_measurements::Measurement;
use crate::engine::locks::Subject;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Measures a hook's members until [`Engine::end_client_measurement`]; several clients may request it. Fails if the
    /// hook is frozen, or has a member that is not among `seen` (if given).
    pub fn begin_client_measurement(
        &self,
        of: Measurement,
        interface: &Interface,
        kind: HookKind,
        seen: Option<&[LinkId]>,
    ) -> Result<HookKey, EngineError> {
        let _operation = self.begin()?;
        let (key, _lock, hook) = self.lock_hook(interface, kind)?;
        self.ensure_members(&key, seen)?;
        ensure_can_be_measured(&hook)?;
        if !is_measured(&hook, of) {
            self.ensure_not_frozen_for(&key, &[])?;
        }
        self.client_measurements.begin(key, of);
        let built = self.rebuild("measure", &hook, &hook.withheld);
        built.inspect_err(|_| self.client_measurements.end(key, of))?;
        Ok(key)
    }

    /// Ends the request of a client. `may_build`: the chain may be rebuilt now. After an error, the next change of the
    /// hook or the next start removes the twin or the counters.
    pub fn end_client_measurement(
        &self,
        of: Measurement,
        key: &HookKey,
        may_build: bool,
    ) -> Result<(), EngineError> {
        let _lock = self.lock(Subject::Hook(*key));
        self.client_measurements.end(*key, of);
        let hook = self.state().hooks.get(key).cloned();
        match hook.filter(|hook| may_build && is_measured(hook, of)) {
            Some(hook) => self.rebuild("measure", &hook, &hook.withheld),
            None => Ok(()),
        }
    }

    /// Returns whether the chain has a timed twin or counters that a client requested from an earlier daemon.
    pub(crate) fn is_measured_without_client(&self, hook: &HookRecord, links: &[Arc<LinkRecord>]) -> bool {
        let (timed, counted) =
            (is_measured(hook, Measurement::Times), is_measured(hook, Measurement::Verdicts));
        if !timed && !counted || self.live_hold(&hook.settings).is_some() {
            return false;
        }
        let Ok(members) = self.joined(links) else { return false };
        let kind = self.splice_hook(hook.key.kind, Some(hook.entry), self.is_open(&hook.key, &members));
        let wanted = self.wanted(kind, &members, &hook.settings);
        timed && !wanted.timing || counted && !wanted.counters
    }
}

pub(super) fn ensure_can_be_measured(hook: &HookRecord) -> Result<(), EngineError> {
    if hook.entry == Entry::Dispatcher {
        return Err(EngineError::Unsupported(format!(
            "{} is held by libxdp's dispatcher, which calls members one by one: neither their times nor their verdicts \
             are measured",
            hook.key.kind.at(&hook.interface)
        )));
    }
    Ok(())
}

fn is_measured(hook: &HookRecord, of: Measurement) -> bool {
    hook.chain.as_ref().is_some_and(|chain| match of {
        Measurement::Times => chain.twin.is_some(),
        Measurement::Verdicts => chain.counters.is_some(),
    })
}

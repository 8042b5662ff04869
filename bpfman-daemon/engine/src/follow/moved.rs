//! Interfaces that were moved to another network namespace: their links continue to run. The interface's old number may
//! be reused, so the records of moved links get a place of their own.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, LinkFacts, LinkId};
use bpfmand_kernel::{Kernel, KernelError};

use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::state::waiting::home_of;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn live_link(&self, pin: &Path) -> Result<Option<(K::Handle, LinkFacts)>, EngineError> {
        let Some(link) = self.kernel.open_pin(pin)? else { return Ok(None) };
        let facts = self.kernel.link_of(&link)?;
        Ok(facts.is_live().then_some((link, facts)))
    }

    /// Returns whether the link runs at another place than recorded; false if its place cannot be queried.
    fn is_elsewhere(
        &self,
        link: &LinkFacts,
        netns: Option<&Path>,
        key: &HookKey,
    ) -> Result<bool, EngineError> {
        if key.netns.id().is_none() {
            return Ok(false);
        }
        match self.kernel.is_link_at(netns, key, link) {
            Ok(here) => Ok(!here),
            Err(KernelError::HookGone { .. }) => Ok(true),
            Err(KernelError::NamespaceNotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn hook_is_elsewhere(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        if hook.entry != Entry::Link {
            return Ok(false);
        }
        match self.live_link(&paths::hook_link(&hook.key))? {
            Some((_, facts)) => self.is_elsewhere(&facts, hook.interface.netns.as_deref(), &hook.key),
            None => Ok(false),
        }
    }

    /// Parks a chain that moved with its interface; returns whether it had moved. The caller holds no lock.
    pub(crate) fn set_moved_aside(&self, key: &HookKey) -> Result<bool, EngineError> {
        if self.follow_moved_dispatcher(key)?.is_some() {
            return Ok(true);
        }
        let find = || self.state().hooks.get(key).cloned();
        let Some(hook) = find() else { return Ok(false) };
        if !self.hook_is_elsewhere(&hook)? {
            return Ok(false);
        }
        let _locks = self.lock_members(&[*key])?;
        match find() {
            Some(hook) if self.hook_is_elsewhere(&hook)? => self.set_aside(&hook).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Parks a hook. The caller holds the hook and its members, and knows that the chain runs elsewhere.
    pub(crate) fn set_aside(&self, hook: &HookRecord) -> Result<(), EngineError> {
        let links = self.state().chain(&hook.key);
        let aside = self.parked(hook, &links).key;
        self.move_record(hook, aside, &links)
    }

    /// Moves a hook's record and pin. Both pins exist meanwhile: after a crash, the next start keeps the recorded one.
    pub(crate) fn move_record(
        &self,
        hook: &HookRecord,
        to: HookKey,
        links: &[Arc<LinkRecord>],
    ) -> Result<(), EngineError> {
        let (before, after) = (paths::hook_link(&hook.key), paths::hook_link(&to));
        let Some((link, _)) = self.live_link(&before)? else { return Ok(()) };
        self.step("follow", "pin moved link");
        self.kernel.pin(&link, &after)?;
        let placed = self.at_hook(HookRecord { key: to, ..hook.clone() }, links);
        self.step("follow", "move record");
        if let Err(error) = self.record_moves(&HashSet::from([hook.key]), &[placed]) {
            self.kernel.unpin(&after)?;
            return Err(error);
        }
        self.state().drifted.remove(&hook.key);
        self.step("follow", "unpin moved link");
        Ok(self.kernel.unpin(&before)?)
    }

    pub(crate) fn link_is_elsewhere(&self, link: &LinkRecord) -> Result<bool, EngineError> {
        let (Some(key), Some((interface, HookKind::Tcx(_)))) = (link.hook, link.point.hook()) else {
            return Ok(false);
        };
        match self.live_link(&paths::link(link.id))? {
            Some((_, facts)) => self.is_elsewhere(&facts, interface.netns.as_deref(), &key),
            None => Ok(false),
        }
    }

    /// Records the hook of a link, or that it has none. The caller holds its program and the hook.
    pub(crate) fn record_place_of(
        &self,
        link: &LinkRecord,
        hook: Option<HookKey>,
    ) -> Result<(), EngineError> {
        let waits_in = if hook.is_some() { None } else { home_of(link) };
        let placed = LinkRecord { hook, waits_in, ..link.clone() };
        self.step("follow", "move record");
        self.record_link(&Arc::new(placed), None)?;
        self.state().drifted_links.remove(&link.id);
        Ok(())
    }

    /// Parks the tcx links that moved with their interface. The caller holds no lock.
    pub(crate) fn set_moved_links_aside(&self, key: &HookKey) -> Result<(), EngineError> {
        let at_hook: Vec<LinkId> = {
            let state = self.state();
            state.links.values().filter(|link| link.hook == Some(*key)).map(|link| link.id).collect()
        };
        for id in at_hook {
            let Some(link) = self.state().links.get(&id).cloned() else { continue };
            if !self.link_is_elsewhere(&link)? {
                continue;
            }
            if let Some((link, _held)) = self.lock_link(id)
                && link.hook == Some(*key)
                && self.link_is_elsewhere(&link)?
            {
                self.record_place_of(&link, None)?;
            }
        }
        Ok(())
    }

    /// Parks attachments of a moved interface before a request for another in its place. The caller holds no lock.
    pub(crate) fn clear_of_moved(&self, key: &HookKey) -> Result<(), EngineError> {
        match key.kind {
            HookKind::Tcx(_) => self.set_moved_links_aside(key),
            HookKind::Xdp | HookKind::Tc(_) => self.set_moved_aside(key).map(drop),
        }
    }
}

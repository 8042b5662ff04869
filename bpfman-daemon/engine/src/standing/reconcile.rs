//! Restores attachments that differ from the records: at the start and in checks.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, LinkId, ProgramId};
use bpfmand_kernel::Kernel;

use super::{Loss, Observed, Standing};
use crate::engine::file_checks::FoundFiles;
use crate::engine::locks::Subject;
use crate::engine::undo::undoing;
use crate::error::Interference;
use crate::state::XdpPlacement;
use crate::state::paths::BRIDGE_NAME;
use crate::state::records::{Entry, HookRecord, LinkRecord};
use crate::{Engine, EngineError, paths};

/// Result of reconciling a place with its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCheck {
    /// The attachment is as recorded.
    Right,
    /// The attachment had this status and was restored.
    Mended(Standing),
    /// The attachment has this status and was not restored.
    Lost(Standing),
    /// There is nothing to compare: no such record, or its interface is gone.
    Absent,
    /// The attachment cannot be compared: no path leads to its network namespace.
    Unreachable,
}

impl<K: Kernel> Engine<K> {
    /// Compares a hook with the kernel, and restores a lost chain. Never replaces a third-party program.
    pub fn check_hook(&self, key: &HookKey) -> Result<HookCheck, EngineError> {
        if self.set_moved_aside(key)? {
            return Ok(HookCheck::Absent);
        }
        let _lock = self.lock(Subject::Hook(*key));
        let (hook, links) = {
            let state = self.state();
            let Some(hook) = state.hooks.get(key).cloned() else { return Ok(HookCheck::Absent) };
            (hook, state.chain(key))
        };
        let mut observed = self.observe(&hook)?;
        if matches!(observed.standing, Standing::Lost { .. }) && self.state().is_taken_away(key) {
            observed.standing = Standing::lost(Loss::Sends);
        }
        let torn = matches!(observed.standing, Standing::Torn { .. });
        let found = self.reconcile(observed, &paths::hook_link(key), || {
            self.step("check", "enter again");
            match torn {
                true => self.put_recorded_chain(&hook, &links, false).map(drop),
                false => self.reenter_hook(&hook, &links),
            }
        })?;
        if found == HookCheck::Right {
            self.follow_dispatcher(&hook)?;
            self.learn_number(&self.hook_as_of_now(&hook))?;
            self.learn_xdp_mode(&self.hook_as_of_now(&hook))?;
        }
        self.note_drift(&key.kind.at(&hook.interface), *key, &found, |state| &mut state.drifted);
        Ok(found)
    }

    /// Compares and restores a link that is not a member of a chain: tcx, or a probe.
    pub fn check_link(&self, id: LinkId) -> Result<HookCheck, EngineError> {
        self.check_link_among(id, &mut FoundFiles::default())
    }

    /// Checks a link as part of a check of many, of which `found` has the files.
    pub(super) fn check_link_among(
        &self,
        id: LinkId,
        found: &mut FoundFiles,
    ) -> Result<HookCheck, EngineError> {
        // Before any lock: the binary's file system may not respond.
        let look = self.look_at_binary(id, found);
        let Some((link, _held)) = self.lock_link(id) else { return Ok(HookCheck::Absent) };
        match (link.hook.map(|key| key.kind), link.point.hook()) {
            (Some(HookKind::Tcx(_)), _) if self.link_is_elsewhere(&link)? => {
                self.record_place_of(&link, None)?;
                return Ok(HookCheck::Absent);
            }
            (Some(HookKind::Tcx(_)), _) | (None, None) => {}
            _ => return Ok(HookCheck::Absent),
        }
        self.finish_reattach(&link)?;
        let pin = paths::link(id);
        let observed = self.observe_alone(&link)?;
        let found = if observed.standing.is_running() {
            // A move ends the link in the old file, and waits until the link has no holder.
            drop(observed);
            self.check_binary(&link, look)?
        } else {
            self.reconcile(observed, &pin, || {
                if link.point.names_process() && link.hook.is_none() && link.point.netns().is_none() {
                    return Err(EngineError::EarlierProcess { link: id, point: link.point.to_string() });
                }
                // A dead link at an interface blocks other links there. Elsewhere it stays: it shows what happened.
                if link.hook.is_some() {
                    self.end_dead_link(&pin, link.adopted)?;
                }
                self.step("check", "attach again");
                self.reattach(&link)
            })?
        };
        self.note_drift(&format!("link {id} at {}", link.point), id, &found, |state| {
            &mut state.drifted_links
        });
        Ok(found)
    }

    fn reconcile(
        &self,
        observed: Observed<K::Handle>,
        pin: &Path,
        put_back: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<HookCheck, EngineError> {
        let Observed { standing, link, .. } = observed;
        if standing == Standing::Unpinned
            && let Some((link, _)) = &link
        {
            self.kernel.pin(link, pin)?;
            return Ok(HookCheck::Mended(standing));
        }
        // `put_back` may have to end the link, and waits until the link has no holder.
        drop(link);
        Ok(match standing {
            Standing::Running => HookCheck::Right,
            Standing::Gone | Standing::Waiting | Standing::Elsewhere | Standing::Withheld { .. } => {
                HookCheck::Absent
            }
            Standing::Unreachable => HookCheck::Unreachable,
            // Only lists report these statuses; the hook itself is unaffected.
            Standing::OtherPath { .. } | Standing::Changing => HookCheck::Right,
            Standing::Replaced { .. }
            | Standing::Ended { .. }
            | Standing::ModuleGone { .. }
            | Standing::NotLoaded { .. }
            | Standing::OldFile { .. } => HookCheck::Lost(standing),
            Standing::Lost { .. }
            | Standing::Torn { .. }
            | Standing::Unpinned
            | Standing::Unattached { .. }
            | Standing::PlaceGone { .. } => match put_back() {
                Ok(()) => HookCheck::Mended(standing),
                Err(error) => HookCheck::Lost(standing.because(&error)),
            },
        })
    }

    /// Reconciles a hook at the start, when records may be older than the kernel's state. A lost chain is attached
    /// later, once all records name the current places of their interfaces. `outdated`: rebuild the chain. The caller
    /// holds the hook's lock.
    pub(crate) fn reconcile_at_start(
        &self,
        hook: &Arc<HookRecord>,
        links: &[Arc<LinkRecord>],
        outdated: bool,
    ) -> Result<HookCheck, EngineError> {
        let observed = self.observe(hook)?;
        let mut was_unpinned = false;
        let is_recorded = match (&observed.standing, &observed.link) {
            // A third party that removed this pin may also have removed those of the chain.
            (Standing::Unpinned, Some((link, _))) => {
                was_unpinned = self.pin_unless_pending(link, &paths::hook_link(&hook.key))?;
                was_unpinned
                    && observed.program == Some(hook.program)
                    && hook.chain.as_ref().map_or(Ok(true), |chain| self.is_whole(chain))?
            }
            // The hook cannot be observed and needs its chain.
            (Standing::Unreachable, _) => return Ok(HookCheck::Unreachable),
            // Following interfaces removes it and leaves it waiting for its interface.
            (Standing::Gone, Some(_)) => return Ok(HookCheck::Right),
            // Its link is detached: swapping its program would have no effect.
            (Standing::Lost { how: Loss::ForcedOff, .. }, _) => {
                return Ok(HookCheck::Lost(observed.standing));
            }
            (Standing::Running, _) if hook.entry == Entry::Dispatcher => true,
            (Standing::Running | Standing::Elsewhere, _) => {
                observed.program == Some(hook.program) && self.has_tag(hook)?
            }
            _ => false,
        };
        if is_recorded && !outdated {
            self.follow_dispatcher(hook)?;
            self.learn_number(&self.hook_as_of_now(hook))?;
            self.learn_xdp_mode(&self.hook_as_of_now(hook))?;
            return Ok(HookCheck::Right);
        }
        if let Some(program) = self.newer_chain(hook)? {
            return Err(EngineError::OlderRecords { hook: hook.key.kind.at(&hook.interface), program });
        }
        Ok(match self.put_recorded_chain(hook, links, was_unpinned)? {
            true => HookCheck::Mended(observed.standing),
            false => HookCheck::Lost(observed.standing),
        })
    }

    /// Returns whether the program with the recorded id has the recorded tag: ids start over with each boot.
    fn has_tag(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        Ok(self.kernel.program(hook.program)?.is_some_and(|facts| facts.tag == hook.tag))
    }

    /// Swaps in the recorded chain; returns false if nothing of ours is there. `is_ours`: the hook's own link is there,
    /// but no pin shows what it runs. The caller holds the hook's lock.
    pub(crate) fn put_recorded_chain(
        &self,
        hook: &Arc<HookRecord>,
        links: &[Arc<LinkRecord>],
        is_ours: bool,
    ) -> Result<bool, EngineError> {
        let running = match hook.entry {
            Entry::Link => self.program_at(hook)?,
            Entry::Filter { .. } => self.own_filter(hook)?,
            Entry::Dispatcher => {
                self.dispatcher_with_own_programs(hook)?.map(|dispatcher| dispatcher.program.id)
            }
        };
        let Some(running) = running else { return Ok(false) };
        if hook.entry == Entry::Link && !is_ours && !self.is_own(running, (hook.program, hook.tag))? {
            return Err(self.taken_over(running));
        }
        let built =
            self.build_chain_as(&hook.key, &hook.interface, links, Some(hook.entry), &hook.settings)?;
        undoing(|undo| {
            if let Some(dispatcher) = &built.dispatcher {
                self.change_dispatcher(dispatcher, undo)?;
            } else if running != built.id {
                let as_found = Arc::new(HookRecord { program: running, ..(**hook).clone() });
                self.change_chain(&as_found, &built, undo)?;
            }
            self.record_hook(built.recorded(self.hook_as_of_now(hook)))
        })?;
        self.settle_chain(built)?;
        Ok(true)
    }

    pub(crate) fn is_own(
        &self,
        running: ProgramId,
        (recorded, tag): (ProgramId, [u8; 8]),
    ) -> Result<bool, EngineError> {
        let Some(facts) = self.kernel.program(running)? else { return Ok(true) };
        Ok(running == recorded
            || facts.tag == tag
            || facts.name.starts_with(BRIDGE_NAME)
            || self.has_pin_of(running)?)
    }

    fn has_pin_of(&self, id: ProgramId) -> Result<bool, EngineError> {
        Ok(self.is_pinned_entry(id)? || self.is_pinned_version(id)?)
    }

    fn is_pinned_version(&self, id: ProgramId) -> Result<bool, EngineError> {
        let name = paths::program(id);
        if self.is_pin_of(&name, id)? {
            return Ok(true);
        }
        for operation in self.kernel.list_folder(Path::new(paths::PENDING))? {
            if self.is_pin_of(&Path::new(paths::PENDING).join(operation).join(&name), id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn taken_over(&self, running: ProgramId) -> EngineError {
        Interference::TakenOver(self.name_of(running)).into()
    }

    fn own_filter(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        let Some(id) = self.program_at(hook)? else { return Ok(None) };
        let is_recorded = id == hook.program && self.has_tag(hook)?;
        // If the pins are lost, the recorded position identifies the filter.
        let is_ours = is_recorded || self.is_pinned_entry(id)? || !self.has_pin_of(hook.program)?;
        Ok(is_ours.then_some(id))
    }

    /// Attaches a recorded chain where nothing is left of it. The caller holds the hook's lock.
    pub(crate) fn reenter_hook(
        &self,
        hook: &HookRecord,
        links: &[Arc<LinkRecord>],
    ) -> Result<(), EngineError> {
        self.ensure_free(&hook.key, &hook.interface, Some(hook.program))?;
        let built = self.build_chain_as(&hook.key, &hook.interface, links, None, &hook.settings)?;
        let operation = self.operation();
        // Declared before the undo steps, because they must outlive them.
        let namespace = self.hold_namespace(&hook.key);
        let mut joined = None;
        let restored = undoing(|undo| {
            let ((entry, xdp), dispatcher) =
                self.enter_or_join(&hook.interface, &hook.key, operation, links, &built, undo)?;
            joined = dispatcher;
            let now = self.hook_as_of_now(hook);
            let restored = HookRecord { operation, entry, xdp, adopted_link: false, ..now };
            let restored = self.numbered(joined.as_ref().unwrap_or(&built).recorded(restored), undo)?;
            self.record_hook(restored.clone())?;
            Ok::<_, EngineError>(restored)
        })?;
        drop(namespace);
        self.place_hook(&restored)?;
        self.settle_chain(joined.unwrap_or(built))
    }

    /// Adds the mode to the record of an earlier version or an adopted link. The caller holds the hook's lock.
    fn learn_xdp_mode(&self, hook: &HookRecord) -> Result<(), EngineError> {
        if hook.key.kind != HookKind::Xdp || hook.xdp.is_some() {
            return Ok(());
        }
        let Ok(contents) = self.kernel.hook_contents(hook.interface.netns.as_deref(), &hook.key) else {
            return Ok(());
        };
        match XdpPlacement::of_entry(&contents, |program| program == hook.program) {
            None => Ok(()),
            xdp => self.record_hook(HookRecord { xdp, ..hook.clone() }),
        }
    }

    /// Returns the current record: building a chain may have added the previous chain's counts to it.
    pub(crate) fn hook_as_of_now(&self, hook: &HookRecord) -> HookRecord {
        self.state().hooks.get(&hook.key).map_or_else(|| hook.clone(), |now| (**now).clone())
    }
}

//! Recovery of hooks: what the kernel runs is compared with the records, and put back where it differs.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{HookKey, ProgramId, ProgramUid};
use bpfmand_kernel::{Kernel, TcFilter};

use crate::chain::filter_place;
use crate::locks::Subject;
use crate::order_move::BRIDGE_NAME;
use crate::records::{Entry, HookRecord, LinkRecord};
use crate::recover::RecoveryReport;
use crate::recover_moves::Absent;
use crate::undo::undoing;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn recover_hooks(&self, reloaded: &HashSet<ProgramUid>, report: &mut RecoveryReport) {
        let mut hooks: Vec<Arc<HookRecord>> = self.state().hooks.values().cloned().collect();
        hooks.sort_by_key(|hook| hook.operation);
        let mut absent = Vec::new();
        let mut present: HashSet<HookKey> = HashSet::new();
        for hook in hooks {
            let links = self.state().chain(&hook.key);
            // A member that was loaded again has other maps of global variables than the chain still runs with.
            let outdated = links.iter().any(|link| reloaded.contains(&link.program));
            let _lock = self.lock(Subject::Hook(hook.key));
            match self.keep_or_swap(&hook, &links, outdated) {
                Ok(Found::Right) => {}
                Ok(Found::Swapped) => report.reattached += 1,
                Ok(Found::Nothing) => {
                    absent.push(Absent { hook, links });
                    continue;
                }
                Err(error) => report.of_hook(&hook, &error),
            }
            present.insert(hook.key);
        }
        // All records are moved to where the interfaces are now before the first chain is attached: a hook's new place
        // may be the former one of another.
        for (hook, links) in self.move_absent(absent, &present, report) {
            let _lock = self.lock(Subject::Hook(hook.key));
            match self.reenter_hook(&hook, &links) {
                Ok(()) => report.reattached += 1,
                Err(error) => report.of_hook(&hook, &error),
            }
        }
    }

    /// Leaves a chain that is right, and swaps one that is another than recorded. The caller holds the hook's lock.
    pub(crate) fn keep_or_swap(
        &self,
        hook: &Arc<HookRecord>,
        links: &[Arc<LinkRecord>],
        outdated: bool,
    ) -> Result<Found, EngineError> {
        self.pin_hook_again(hook)?;
        if !outdated && self.hook_is_right(hook)? {
            return Ok(Found::Right);
        }
        if let Some(program) = self.newer_chain(hook)? {
            return Err(EngineError::OlderRecords {
                hook: crate::chain::hook_text(&hook.key, &hook.interface),
                program,
            });
        }
        self.put_recorded_chain(hook, links)
    }

    /// Puts the recorded chain where something else of ours runs. The caller holds the hook's lock.
    pub(crate) fn put_recorded_chain(
        &self,
        hook: &Arc<HookRecord>,
        links: &[Arc<LinkRecord>],
    ) -> Result<Found, EngineError> {
        let running = match hook.entry {
            Entry::Link => self.program_at(hook)?,
            Entry::Filter { .. } => self.own_filter(hook)?,
            Entry::Dispatcher => self.dispatcher_with_ours(hook)?.map(|standing| standing.program.id),
        };
        let Some(running) = running else { return Ok(Found::Nothing) };
        if hook.entry != Entry::Dispatcher && !self.is_own(running, (hook.program, hook.tag))? {
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
        Ok(Found::Swapped)
    }

    /// The program in a hook's link or filter, whoever put it there.
    pub(crate) fn program_at(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        match hook.entry {
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Ok(Some(self.kernel.link_of(&link)?.program)),
                None => Ok(None),
            },
            Entry::Filter { priority, handle } => {
                match filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) {
                    Some(at) => Ok(self.kernel.filter_program(&at)?),
                    None => Ok(None),
                }
            }
            Entry::Dispatcher => Ok(None),
        }
    }

    /// True if a program that was found in a link is one that we may have put there: the one of the record, the entry of
    /// a chain, a version of a program, or a bridge. Anything else somebody else wants there.
    pub(crate) fn is_own(
        &self,
        running: ProgramId,
        (recorded, tag): (ProgramId, [u8; 8]),
    ) -> Result<bool, EngineError> {
        let Some(facts) = self.kernel.program(running)? else { return Ok(true) };
        Ok(running == recorded
            || facts.tag == tag
            || facts.name.starts_with(BRIDGE_NAME)
            || self.is_pinned_entry(running)?
            || self.is_pinned_version(running)?)
    }

    /// True if a program is pinned as one of ours, or below `pending` as one that was to become one.
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

    /// What somebody else put into a link of ours stays.
    pub(crate) fn taken_over(&self, running: ProgramId) -> EngineError {
        let other = self.name_of(running);
        EngineError::Invalid(format!("someone put {other} into its link, which is left as it is"))
    }

    fn hook_is_right(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        if hook.entry == Entry::Dispatcher {
            // Others may have made it anew, with ours carried along.
            let standing = self.dispatcher_with_ours(hook)?.filter(|standing| standing.has_all_of(hook));
            standing.iter().try_for_each(|standing| self.follow_dispatcher(hook, standing))?;
            return Ok(standing.is_some());
        }
        let running = self.program_at(hook)?;
        let runs_it = running == Some(hook.program)
            && self.kernel.program(hook.program)?.is_some_and(|facts| facts.tag == hook.tag);
        // Without the pins of its arrays a chain loses its second half.
        Ok(runs_it && hook.chain.as_ref().map_or(Ok(true), |chain| self.is_whole(chain))?)
    }

    /// The program that a filter of ours runs, if the filter is ours: what it runs is recorded or pinned by us.
    fn own_filter(&self, hook: &HookRecord) -> Result<Option<ProgramId>, EngineError> {
        let Some(id) = self.program_at(hook)? else { return Ok(None) };
        let is_recorded =
            id == hook.program && self.kernel.program(id)?.is_some_and(|facts| facts.tag == hook.tag);
        Ok((is_recorded || self.is_pinned_entry(id)?).then_some(id))
    }

    /// Attaches a recorded chain where nothing is left of it: after a reboot, or when someone removed its pin. The caller
    /// holds the lock of the hook.
    pub(crate) fn reenter_hook(
        &self,
        hook: &HookRecord,
        links: &[Arc<LinkRecord>],
    ) -> Result<(), EngineError> {
        self.refuse_taken(&hook.key, &hook.interface, Some(hook.program))?;
        let built = self.build_chain_as(&hook.key, &hook.interface, links, None, &hook.settings)?;
        let operation = self.operation();
        // Before what undoes it, so that it outlives that.
        let mut joined = None;
        let restored = undoing(|undo| {
            let (entry, dispatcher) =
                self.enter_or_join(&hook.interface, &hook.key, operation, links, &built, undo)?;
            joined = dispatcher;
            let now = self.hook_as_of_now(hook);
            // It is entered by a link of our own from now on.
            let restored = HookRecord { operation, entry, adopted_link: false, ..now };
            let restored = joined.as_ref().unwrap_or(&built).recorded(restored);
            self.record_hook(restored.clone())?;
            Ok::<_, EngineError>(restored)
        })?;
        self.place_hook(&restored)?;
        self.settle_chain(joined.unwrap_or(built))
    }

    /// The record of a hook. Building a chain may have written it again: it adds the counts of the chain before.
    fn hook_as_of_now(&self, hook: &HookRecord) -> HookRecord {
        self.state().hooks.get(&hook.key).map_or_else(|| hook.clone(), |now| (**now).clone())
    }
}

/// What recovery found at a hook.
pub enum Found {
    /// The recorded chain.
    Right,
    /// Something of ours, which is the recorded chain now.
    Swapped,
    /// Nothing of ours.
    Nothing,
}

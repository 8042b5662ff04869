//! Detach: one place less where a program runs. Unload does the same for all links of a program at once.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, LinkId};
use bpfmand_kernel::Kernel;
use bpfmand_store::Batch;

use crate::chain::BuiltChain;
use crate::engine::encode;
use crate::locks::Subject;
use crate::records::{
    self, Entry, HookRecord, LeftoverFilter, LeftoverRecord, LinkRecord, MapRecord, ProgramRecord,
};
use crate::state::Uncleared;
use crate::undo::Undo;
use crate::{Engine, EngineError, paths};

/// A hook without some of its members: its record if it goes on, and what it runs now, if that could be changed.
type Left<'a, K> = (Option<HookRecord>, Option<BuiltChain<'a, K>>);

impl<K: Kernel> Engine<K> {
    /// Removes one attachment. When this returns, the kernel has let go of it.
    ///
    /// # Errors
    /// See [`EngineError`]; the link stays then.
    pub fn detach(&self, id: LinkId) -> Result<(), EngineError> {
        self.begin()?;
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        let _program_lock = self.lock(Subject::Program(link.program));
        // Another call may have detached it while this one waited.
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        let hook = link.hook;
        let _hook_lock = hook.map(|key| self.lock(Subject::Hook(key)));
        // An adopted program is ours only as long as it is attached.
        let adopted = self.record(link.program).filter(|program| {
            program.is_adopted() && self.state().links_of(program.uid).all(|other| other.id == id)
        });
        let result = self.remove("detach", &[link], adopted.as_deref());
        // What others wanted of it they want no more.
        hook.iter().for_each(|key| self.keep_order(key));
        result
    }

    /// Removes links, all of one program, and the program too if it is given. The caller holds the locks of the
    /// program and of all hooks.
    pub(crate) fn remove(
        &self,
        operation_name: &'static str,
        links: &[Arc<LinkRecord>],
        program: Option<&ProgramRecord>,
    ) -> Result<(), EngineError> {
        let operation = self.operation();
        // Before what undoes it, so that it outlives that.
        let mut built_chains = Vec::new();
        let mut undo = Undo::default();
        let mut batch = Batch::new();
        let mut leftover = LeftoverRecord::default();
        let mut changed = Vec::new();
        let mut chains: BTreeMap<HookKey, Vec<LinkId>> = BTreeMap::new();
        self.pin_leaving_again(links, program.is_some())?;
        for link in links {
            batch.delete(records::LINKS, link.id.to_string().as_bytes());
            match link.hook {
                Some(key) if !matches!(key.kind, HookKind::Tcx(_)) => {
                    chains.entry(key).or_default().push(link.id);
                }
                // The stranger's link goes on as it was.
                _ if link.adopted => leftover.released.push(text(&paths::link(link.id))),
                _ => leftover.links.push(text(&paths::link(link.id))),
            }
        }
        for (key, leaving) in &chains {
            match self.leave_chain(operation_name, key, leaving, &mut leftover, &mut undo) {
                Ok((Some(hook), built)) => {
                    built_chains.extend(built);
                    match encode(&hook) {
                        Ok(record) => batch.put(records::HOOKS, &records::hook_key(key), record),
                        Err(error) => return Err(undo.run(error)),
                    };
                    changed.push(hook);
                }
                Ok((None, built)) => {
                    built_chains.extend(built);
                    batch.delete(records::HOOKS, &records::hook_key(key));
                }
                Err(error) => return Err(undo.run(error)),
            }
        }
        if let Some(program) = program {
            self.leave_program(program, &mut batch, &mut leftover);
        }
        let operations = match self.list_leftover(&mut batch, operation, &leftover) {
            Ok(operations) => operations,
            Err(error) => return Err(undo.run(error)),
        };
        self.step(operation_name, "record");
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        let mut ended = Vec::new();
        {
            let mut state = self.state();
            for link in links {
                state.links.remove(&link.id);
            }
            let goes_on: HashSet<HookKey> = changed.iter().map(|hook: &HookRecord| hook.key).collect();
            let gone = chains.keys().filter(|key| !goes_on.contains(key));
            ended.extend(gone.filter_map(|key| state.hooks.remove(key)));
            for hook in changed {
                state.hooks.insert(hook.key, Arc::new(hook));
            }
            if let Some(program) = program {
                state.remove_program(program.uid);
            }
        }
        let waiting = Uncleared { operations, leftover, hooks: chains.into_keys().collect(), ended };
        let cleared = self.clear_or_wait(operation_name, waiting);
        self.settle_chains(built_chains)?;
        cleared
    }

    /// Takes members out of a chain. Answers the hook's new record, or none if it ends, with what it runs now.
    pub(crate) fn leave_chain<'a>(
        &'a self,
        operation_name: &'static str,
        key: &HookKey,
        leaving: &[LinkId],
        leftover: &mut LeftoverRecord,
        undo: &mut Undo<'a>,
    ) -> Result<Left<'a, K>, EngineError> {
        let (hook, remaining) = {
            let state = self.state();
            let Some(hook) = state.hooks.get(key).cloned() else { return Ok((None, None)) };
            let remaining: Vec<_> =
                state.chain(key).into_iter().filter(|link| !leaving.contains(&link.id)).collect();
            (hook, state.order(key, remaining, None))
        };
        let is_entered = self.is_entered(&hook)?;
        if is_entered {
            // Where nothing runs there is nothing to be looked at, and maybe no interface by which to let go of the hold.
            self.refuse_held(key)?;
        }
        if is_entered && hook.entry == Entry::Dispatcher {
            self.step(operation_name, "build chain");
            let built = self.build_chain(key, &hook.interface, &remaining, Some(hook.entry))?;
            self.change_chain(&hook, &built, undo)?;
            // Removed by the next start too, if this one does not come to it.
            leftover
                .folders
                .extend(built.dispatcher.iter().flat_map(|new| new.leftovers()).map(|path| text(&path)));
            let goes_on = !remaining.is_empty();
            let record = goes_on.then(|| built.recorded(HookRecord { newcomer: None, ..(*hook).clone() }));
            return Ok((record, Some(built)));
        }
        if remaining.is_empty() && !(is_entered && self.is_kept_attached(key)) {
            if is_entered && hook.adopted_link {
                let leaving: Vec<_> =
                    leaving.iter().filter_map(|id| self.state().links.get(id).cloned()).collect();
                self.leave_adopted(&hook, &leaving, leftover, undo)?;
            } else {
                self.leave_entry(&hook, leftover);
            }
            return Ok((None, None));
        }
        if !is_entered {
            // Someone removed the pin, and with it what ran here: nothing is to be swapped. Recovery, or the next
            // attach, enters the hook again with those who remain.
            return Ok((Some(HookRecord { newcomer: None, ..(*hook).clone() }), None));
        }
        self.step(operation_name, "build chain");
        let built = self.build_chain(key, &hook.interface, &remaining, Some(hook.entry))?;
        self.change_chain(&hook, &built, undo)?;
        Ok((Some(built.recorded(HookRecord { newcomer: None, ..(*hook).clone() })), Some(built)))
    }

    /// Lists what a hook is entered by as something to be removed.
    pub(crate) fn leave_entry(&self, hook: &HookRecord, leftover: &mut LeftoverRecord) {
        match hook.entry {
            // A link that others may hold is not waited for.
            Entry::Link if hook.adopted_link => {
                leftover.adopted_links.push(text(&paths::hook_link(&hook.key)));
            }
            Entry::Link => leftover.links.push(text(&paths::hook_link(&hook.key))),
            Entry::Filter { priority, handle } => leftover.filters.push(LeftoverFilter {
                interface: hook.interface.clone(),
                key: hook.key,
                priority,
                handle,
                program: hook.program,
            }),
            // Others may be in the dispatcher: it is made anew, or was left already.
            Entry::Dispatcher => {}
        }
    }

    /// Lists what goes with a program: its pin, and maps that nobody else uses.
    fn leave_program(&self, program: &ProgramRecord, batch: &mut Batch, leftover: &mut LeftoverRecord) {
        batch.delete(records::PROGRAMS, program.uid.to_string().as_bytes());
        for matching in self.state().matchings_of(program.uid) {
            batch.delete(records::MATCHINGS, matching.to_string().as_bytes());
        }
        leftover.pins.push(text(&paths::program(program.id)));
        leftover.folders.push(text(&paths::maps(program.map_folder)));
        leftover.pins.extend(program.maps.iter().filter_map(MapRecord::shared_pin).map(|pin| text(&pin)));
        let previous = self.state().previous.get(&program.uid).cloned();
        if let Some(previous) = previous {
            batch.delete(records::PREVIOUS, program.uid.to_string().as_bytes());
            if previous.boot == self.boot {
                let version = &previous.program;
                leftover.pins.push(text(&paths::program(version.id)));
                leftover.folders.push(text(&paths::maps(version.map_folder)));
                let shared = version.maps.iter().filter_map(MapRecord::shared_pin);
                leftover.pins.extend(shared.map(|pin| text(&pin)));
            }
        }
        let state = self.state();
        leftover.pins.retain(|pin| !state.is_claimed(pin, &[program.uid]));
        leftover.folders.retain(|folder| !state.is_claimed(folder, &[program.uid]));
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

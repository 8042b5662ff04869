//! Detach: ends one attachment of a program. Unload ends all links of a program at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{HookKey, HookKind, LinkId};
use bpfmand_kernel::{Kernel, KernelError};

use crate::chain::BuiltChain;
use crate::engine::undo::{Undo, undoing};
use crate::state::Changes;
use crate::state::records::{Entry, HookRecord, LeftoverFilter, LeftoverRecord, LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

type Left<'a, K> = (Option<HookRecord>, Option<BuiltChain<'a, K>>);

impl<K: Kernel> Engine<K> {
    /// Removes one attachment. The kernel has released it when this returns; on an error the link stays.
    pub fn detach(&self, id: LinkId) -> Result<(), EngineError> {
        let _operation = self.begin()?;
        let at = self.state().links.get(&id).and_then(|link| link.hook);
        self.follow_moved_dispatchers_at(at)?;
        let (link, _held) = self.lock_link(id).ok_or(EngineError::NoLink(id))?;
        let hook = link.hook;
        let adopted = self.record(link.program).filter(|program| {
            program.is_adopted() && self.state().links_of(program.uid).all(|other| other.id == id)
        });
        let result = self.remove("detach", &[link], adopted.as_deref());
        // Other members may have had intents that named this one.
        hook.iter().for_each(|key| self.keep_order(key));
        result
    }

    /// Removes links of one program, and the program if given. The caller holds the locks of the program and all hooks.
    pub(crate) fn remove(
        &self,
        operation_name: &'static str,
        links: &[Arc<LinkRecord>],
        program: Option<&ProgramRecord>,
    ) -> Result<(), EngineError> {
        self.remove_with(operation_name, links, program, Changes::default())
    }

    pub(crate) fn remove_with(
        &self,
        operation_name: &'static str,
        links: &[Arc<LinkRecord>],
        program: Option<&ProgramRecord>,
        mut changes: Changes,
    ) -> Result<(), EngineError> {
        let operation = self.operation();
        // Declared before the undo steps, because it must outlive them.
        let mut built_chains = Vec::new();
        let mut leftover = LeftoverRecord::default();
        let mut chains: BTreeMap<HookKey, Vec<LinkId>> = BTreeMap::new();
        self.pin_leaving_again(links, program.is_some())?;
        for link in links {
            self.finish_reattach(link)?;
            changes.end_link(link.id);
            match link.hook {
                Some(key) if !matches!(key.kind, HookKind::Tcx(_)) => {
                    chains.entry(key).or_default().push(link.id);
                }
                _ if link.adopted => leftover.released.push(text(&paths::link(link.id))),
                _ => leftover.links.push(text(&paths::link(link.id))),
            }
        }
        let committed = undoing(|undo| {
            for (key, leaving) in &chains {
                let (goes_on, built) = self.leave_chain(operation_name, key, leaving, &mut leftover, undo)?;
                built_chains.extend(built);
                match goes_on {
                    Some(hook) => changes.put_hook(hook),
                    None => changes.end_hook(*key),
                }
            }
            if let Some(program) = program {
                changes.end_program(program.uid);
                self.leave_program(program, &mut leftover);
            }
            changes.leave(operation, leftover.clone());
            self.step(operation_name, "record");
            self.commit(changes)
        })?;
        let waiting = committed.leaving(leftover, chains.into_keys().collect());
        let cleared = self.clear_or_wait(operation_name, waiting);
        self.settle_chains(built_chains)?;
        cleared
    }

    /// Removes links from a chain. Returns the hook's new record and chain: no record, no attachment left.
    pub(crate) fn leave_chain<'a>(
        &'a self,
        operation_name: &'static str,
        key: &HookKey,
        leaving: &[LinkId],
        leftover: &mut LeftoverRecord,
        undo: &mut Undo<'a>,
    ) -> Result<Left<'a, K>, EngineError> {
        let (Some(hook), remaining) = self.remaining(key, leaving) else { return Ok((None, None)) };
        let left: Vec<_> = leaving.iter().filter_map(|id| self.state().links.get(id).cloned()).collect();
        let is_entered = match self.is_entered(&hook) {
            Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) if self.ends_soon(&hook)? => {
                false
            }
            entered => entered?,
        };
        if is_entered {
            // A hook that runs nothing may have no interface by which to release the freeze.
            self.ensure_not_frozen(key, &left)?;
        }
        let in_dispatcher = is_entered && hook.entry == Entry::Dispatcher;
        if remaining.is_empty() && !in_dispatcher && !(is_entered && self.is_kept_attached(key)) {
            if is_entered && hook.adopted_link {
                self.leave_adopted(&hook, &left, leftover, undo)?;
            } else {
                self.leave_entry(&hook, leftover);
            }
            return Ok((None, None));
        }
        let record = HookRecord { newcomer: None, ..(*hook).clone() };
        if !is_entered {
            // The pin was removed: recovery or the next attach enters the hook with the remaining members.
            return Ok((Some(record), None));
        }
        self.step(operation_name, "build chain");
        let built = self.build_chain(key, &hook.interface, &remaining, Some(hook.entry), &left)?;
        self.change_chain(&hook, &built, undo)?;
        if let Some(new) = &built.dispatcher {
            leftover.folders.extend(new.leftovers().map(|path| text(&path)));
        }
        let goes_on = !(in_dispatcher && remaining.is_empty());
        Ok((goes_on.then(|| built.recorded(record)), Some(built)))
    }

    pub(crate) fn remaining(
        &self,
        key: &HookKey,
        leaving: &[LinkId],
    ) -> (Option<Arc<HookRecord>>, Vec<Arc<LinkRecord>>) {
        let state = self.state();
        let hook = state.hooks.get(key).cloned();
        let mut links = state.chain(key);
        if !leaving.is_empty() {
            links.retain(|link| !leaving.contains(&link.id));
            links = state.order(key, links, None);
        }
        (hook, links)
    }

    pub(crate) fn leave_entry(&self, hook: &HookRecord, leftover: &mut LeftoverRecord) {
        match hook.entry {
            // Do not wait for the end of a link that others may hold.
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
                number: hook.number.clone(),
            }),
            // An entered dispatcher is rebuilt, as it may run other programs. This one has already lost the chain.
            Entry::Dispatcher => {}
        }
    }

    fn leave_program(&self, program: &ProgramRecord, leftover: &mut LeftoverRecord) {
        let previous = self.state().previous.get(&program.uid).cloned();
        let loaded = previous.iter().filter(|previous| previous.boot == self.boot);
        let versions: Vec<_> = std::iter::once(program).chain(loaded.map(|loaded| &loaded.program)).collect();
        leftover.extend(self.leave_versions(&versions, &[]));
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

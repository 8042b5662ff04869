//! Recovery of hooks and links: what the kernel runs is compared with the records, and put back where it differs.

use std::collections::HashSet;
use std::sync::Arc;

use bpfmand_core::{HookKind, ProgramId, ProgramUid};
use bpfmand_kernel::{Kernel, TcFilter};
use bpfmand_store::Batch;

use crate::chain::{chain_name, filter_place, hook_text};
use crate::engine::encode;
use crate::locks::Subject;
use crate::records::{self, Entry, HookRecord, LinkRecord};
use crate::recover::RecoveryReport;
use crate::undo::Undo;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn recover_hooks(&self, reloaded: &HashSet<ProgramUid>, report: &mut RecoveryReport) {
        let hooks: Vec<Arc<HookRecord>> = self.state().hooks.values().cloned().collect();
        for hook in hooks {
            // A member that was loaded again has other maps of global variables than the chain still runs with.
            let outdated = self.state().chain(&hook.key).iter().any(|link| reloaded.contains(&link.program));
            match self.hook_is_right(&hook).map(|right| right && !outdated) {
                Ok(true) => {}
                Ok(false) => match self.restore_hook(&hook) {
                    Ok(()) => report.reattached += 1,
                    Err(error) => report
                        .problems
                        .push(format!("chain of {}: {error}", hook_text(&hook.key, &hook.interface))),
                },
                Err(error) => report
                    .problems
                    .push(format!("chain of {}: {error}", hook_text(&hook.key, &hook.interface))),
            }
        }
    }

    fn hook_is_right(&self, hook: &HookRecord) -> Result<bool, EngineError> {
        let running = match hook.entry {
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Some(self.kernel.link_of(&link)?.program),
                None => None,
            },
            Entry::Filter { priority, handle } => {
                match filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) {
                    Some(at) => self.kernel.filter_program(&at)?,
                    None => None,
                }
            }
        };
        Ok(running == Some(hook.program)
            && self.kernel.program(hook.program)?.is_some_and(|facts| facts.tag == hook.tag))
    }

    /// Puts the recorded chain back: in place where the hook is still ours, anew where nothing is left of it.
    fn restore_hook(&self, hook: &Arc<HookRecord>) -> Result<(), EngineError> {
        let links = self.state().chain(&hook.key);
        let built = self.build_chain(&hook.key, &hook.interface, &links, Some(hook.entry))?;
        let still_there = match hook.entry {
            Entry::Link => match self.kernel.open_pin(&paths::hook_link(&hook.key))? {
                Some(link) => Some(self.kernel.link_of(&link)?.program),
                None => None,
            },
            Entry::Filter { priority, handle } => self.own_filter(hook, TcFilter { priority, handle })?,
        };
        if let Some(running) = still_there {
            self.swap(hook, running, &built.handle, &hook.interface)?;
            let restored = HookRecord {
                strategy: built.strategy,
                program: built.id,
                tag: built.tag,
                ..(**hook).clone()
            };
            let mut batch = Batch::new();
            batch.put(records::HOOKS, &records::hook_key(&hook.key), encode(&restored)?);
            self.commit(batch)?;
            self.state().hooks.insert(hook.key, Arc::new(restored));
            return Ok(());
        }
        self.reenter_hook(hook, &links)
    }

    /// The program that a filter of ours runs, if the filter is ours: it has our numbers and our name.
    fn own_filter(&self, hook: &HookRecord, filter: TcFilter) -> Result<Option<ProgramId>, EngineError> {
        let Some(at) = filter_place(&hook.key, &hook.interface, filter) else { return Ok(None) };
        let Some(id) = self.kernel.filter_program(&at)? else { return Ok(None) };
        let name = chain_name(&hook.key, &hook.interface);
        Ok(self.kernel.program(id)?.is_some_and(|facts| facts.name == name).then_some(id))
    }

    /// Attaches a recorded chain where nothing is left of it: after a reboot, or when someone removed its pin.
    fn reenter_hook(&self, hook: &Arc<HookRecord>, links: &[Arc<LinkRecord>]) -> Result<(), EngineError> {
        let key = self.kernel.find_hook(&hook.interface, hook.key.kind)?;
        let _lock = self.lock(Subject::Hook(key));
        let built = self.build_chain(&key, &hook.interface, links, None)?;
        let operation = self.operation();
        let mut undo = Undo::default();
        let entry = match self.enter_hook(&hook.interface, &key, operation, &built, &mut undo) {
            Ok(entry) => entry,
            Err(error) => return Err(undo.run(error)),
        };
        let restored = HookRecord {
            key,
            operation,
            entry,
            strategy: built.strategy,
            program: built.id,
            tag: built.tag,
            ..(**hook).clone()
        };
        let moved: Vec<LinkRecord> =
            links.iter().map(|link| LinkRecord { hook: Some(key), ..(**link).clone() }).collect();
        let mut batch = Batch::new();
        batch.delete(records::HOOKS, &records::hook_key(&hook.key));
        batch.put(records::HOOKS, &records::hook_key(&key), encode(&restored)?);
        for link in &moved {
            batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(link)?);
        }
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        {
            let mut state = self.state();
            state.hooks.remove(&hook.key);
            state.hooks.insert(key, Arc::new(restored.clone()));
            for link in moved {
                state.links.insert(link.id, Arc::new(link));
            }
        }
        self.place_hook(&restored)
    }

    pub(crate) fn recover_links(&self, report: &mut RecoveryReport) {
        let links: Vec<Arc<LinkRecord>> = self.state().links.values().cloned().collect();
        for link in links {
            if matches!(link.point.hook(), Some((_, HookKind::Xdp | HookKind::Tc(_)))) {
                continue;
            }
            match self.kernel.open_pin(&paths::link(link.id)) {
                Ok(Some(_)) => {}
                Ok(None) => match self.reattach(&link) {
                    Ok(()) => report.reattached += 1,
                    Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
                },
                Err(error) => report.problems.push(format!("link {}: {error}", link.id)),
            }
        }
    }

    /// Attaches a recorded link again.
    fn reattach(&self, link: &LinkRecord) -> Result<(), EngineError> {
        let program = self.record(link.program).ok_or(EngineError::NoLink(link.id))?;
        let handle = self.kernel.open_program(program.id)?.ok_or(EngineError::NoKernelProgram(program.id))?;
        let hook = match link.point.hook() {
            Some((interface, kind)) => Some(self.kernel.find_hook(interface, kind)?),
            None => None,
        };
        let restored = LinkRecord { hook, operation: self.operation(), ..link.clone() };
        // The tcx anchors are chosen among links of the hook as it is now.
        self.state().links.insert(link.id, Arc::new(restored.clone()));
        let target = self.link_target(&program, &restored)?;
        let mut undo = Undo::default();
        if let Err(error) = self.attach_pending(&handle, &target, restored.operation, &mut undo) {
            return Err(undo.run(error));
        }
        let mut batch = Batch::new();
        batch.put(records::LINKS, link.id.to_string().as_bytes(), encode(&restored)?);
        if let Err(error) = self.commit(batch) {
            return Err(undo.run(error));
        }
        undo.forget();
        self.place_link(&restored)
    }
}

//! Recovery of chains: moves recorded ones into place, removes unrecorded ones.

use std::path::{Path, PathBuf};

use bpfman_model::{OperationId, ProgramId};
use bpfmand_kernel::{Kernel, KernelError};

use crate::engine::RecoveryReport;
use crate::state::FoundFilters;
use crate::state::chain_record::ChainId;
use crate::state::filter_pin::parse_filter_pin;
use crate::state::paths::is_adopted_pin;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Settles the pins of a chain below `pending`. A hook may run an unrecorded chain until it is swapped back.
    pub(crate) fn settle_pending_chain(&self, operation: OperationId) -> Result<bool, EngineError> {
        let names = self.kernel.list_folder(&paths::pending(operation))?;
        if names.iter().all(|name| name != paths::PENDING_CHAIN) {
            return Ok(false);
        }
        let chain = {
            let state = self.state();
            let found = state.chain_of_id(ChainId(operation.0));
            found.filter(|chain| chain.boot == self.boot).cloned()
        };
        if let Some(chain) = chain {
            self.place_chain(&chain)?;
        }
        Ok(true)
    }

    /// Runs after all hooks run their recorded chains: adds up counters, and removes unrecorded chains.
    pub(crate) fn sweep_chains(&self, report: &mut RecoveryReport) {
        let hooks: Vec<_> = self.state().hooks.keys().copied().collect();
        for key in hooks {
            let _lock = self.lock(crate::engine::locks::Subject::Hook(key));
            let result = self.fold_counters(&key);
            report.note(format!("adding up counters of {}", self.text_of_hook(&key)), result);
        }
        let result = self.sweep_pending_chains().and_then(|()| self.sweep_chain_folders(report));
        report.note("removing chains that no hook runs", result);
        let result = self.sweep_namespaces().map(drop);
        report.note("forgetting network namespaces that have ended", result);
    }

    fn sweep_pending_chains(&self) -> Result<(), EngineError> {
        let mut filters = None;
        for name in self.kernel.list_folder(Path::new(paths::PENDING))? {
            let folder = Path::new(paths::PENDING).join(&name);
            if self.kernel.list_folder(&folder)?.iter().all(|name| name != paths::PENDING_CHAIN) {
                continue;
            }
            let id = name.parse().ok().map(ChainId);
            if let Some(ChainId(number)) = id
                && self.is_adoption(OperationId(number))?
            {
                // The adoption could not be undone: the next start needs its pins.
                continue;
            }
            let filters = match &filters {
                Some(filters) => filters,
                None => &*filters.insert(self.all_filters()?),
            };
            if !self.is_running_unrecorded(&folder.join(paths::PENDING_CHAIN), filters)?
                && id.is_none_or(|id| !self.state().is_chain_used(id))
            {
                self.remove_tree(&folder)?;
            }
        }
        Ok(())
    }

    fn sweep_chain_folders(&self, report: &mut RecoveryReport) -> Result<(), EngineError> {
        let folders = self.unrecorded_chains()?;
        // Usually there are none: avoid scanning all hooks of the machine at every start.
        let filters = if folders.is_empty() { FoundFilters::default() } else { self.all_filters()? };
        for folder in folders {
            if !self.is_running_unrecorded(&folder, &filters)? {
                self.remove_tree(&folder)?;
                report.settled += 1;
            }
        }
        Ok(())
    }

    /// Returns whether a hook not swapped back, a link whose adoption was not undone, or a stray runs the chain.
    pub(crate) fn is_running_unrecorded(
        &self,
        folder: &Path,
        filters: &FoundFilters,
    ) -> Result<bool, EngineError> {
        let Some(entry) = self.pinned_program(&folder.join(paths::segment(0)))? else { return Ok(false) };
        let id = entry.id;
        let hooks: Vec<_> = self.state().hooks.values().cloned().collect();
        for hook in hooks {
            match self.program_at(&hook) {
                // The hook cannot be reached, and may run any chain of ours.
                Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) => return Ok(true),
                running => {
                    if running? == Some(id) {
                        return Ok(true);
                    }
                }
            }
        }
        let mut adopted: Vec<PathBuf> = Vec::new();
        for operation in self.kernel.list_folder(Path::new(paths::PENDING))? {
            let folder = Path::new(paths::PENDING).join(operation);
            let names = self.kernel.list_folder(&folder)?;
            // A filter of an interrupted attach, which could not be reached, may still run the chain.
            for name in names.iter().filter(|name| parse_filter_pin(name).is_some()) {
                if self.is_pin_of(&folder.join(name), id)? {
                    return Ok(true);
                }
            }
            adopted.extend(names.iter().filter(|name| is_adopted_pin(name)).map(|name| folder.join(name)));
        }
        for pin in adopted {
            if self.pinned_link(&pin)?.is_some_and(|facts| facts.program == id) {
                return Ok(true);
            }
        }
        self.is_run_by_stray(id, filters)
    }

    pub(crate) fn is_pinned_entry(&self, id: ProgramId) -> Result<bool, EngineError> {
        let mut folders = Vec::new();
        for name in self.kernel.list_folder(Path::new(paths::CHAINS))? {
            folders.push(Path::new(paths::CHAINS).join(name));
        }
        for name in self.kernel.list_folder(Path::new(paths::PENDING))? {
            folders.push(Path::new(paths::PENDING).join(name).join(paths::PENDING_CHAIN));
        }
        for folder in &folders {
            if self.is_pin_of(&folder.join(paths::segment(0)), id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn is_pin_of(&self, pin: &Path, id: ProgramId) -> Result<bool, EngineError> {
        Ok(self.pinned_program(pin)?.is_some_and(|facts| facts.id == id))
    }
}

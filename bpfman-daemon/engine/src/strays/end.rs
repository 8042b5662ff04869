use std::path::Path;

use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::engine::locks::Subject;
use crate::state::hook_names::filter_place;
use crate::state::{FoundFilters, Stray, StrayKind};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Ends a stray, by its pin relative to the daemon's bpffs: detaches its program and releases what only the stray
    /// needs. [`EngineError::NoStray`]: no stray has this pin, or a record names it by now.
    pub fn remove_stray(&self, pin: &Path) -> Result<(), EngineError> {
        let _operation = self.begin()?;
        // Prevents loads from using its maps, and its adoption, meanwhile.
        let _alone = self.lock(Subject::SharedMaps);
        let stray = self.strays()?.into_iter().find(|stray| stray.pin == pin);
        let stray = stray.ok_or_else(|| EngineError::NoStray { pin: pin.display().to_string() })?;
        self.step("stray", "remove");
        let mut forgotten = None;
        match &stray.kind {
            StrayKind::Link { .. } => self.kernel.end_link(&stray.pin)?,
            StrayKind::Program => self.let_program_go(&stray)?,
            StrayKind::Filter { interface, key, priority, handle } => {
                let _hook = self.lock(Subject::Hook(*key));
                let filter = TcFilter { priority: *priority, handle: *handle };
                if let Some(at) = filter_place(key, interface, filter) {
                    self.kernel.remove_filter(&at, stray.program)?;
                }
                forgotten = key.netns.id();
            }
            StrayKind::HiddenFilter { .. } => {
                if let Some(netns) = self.all_filters()?.hidden {
                    let subject = format!("the filter that may run program {}", stray.program);
                    return Err(KernelError::NamespaceNotFound { subject, netns }.into());
                }
            }
            StrayKind::NewerChain { key, .. } => {
                let _locks = self.lock_members(&[*key])?;
                let (hook, links) = {
                    let state = self.state();
                    (state.hooks.get(key).cloned(), state.chain(key))
                };
                let hook = hook.ok_or_else(|| EngineError::NoStray { pin: pin.display().to_string() })?;
                self.put_recorded_chain(&hook, &links, false)?;
                self.state().drifted.remove(key);
            }
        }
        self.state().strays.retain(|other| *other != stray);
        if let Some(home) = forgotten {
            self.forget_namespace(home);
        }
        self.drop_unrecorded_chains_of(&stray)?;
        self.announce_change();
        Ok(())
    }

    /// Removes the pin of a stray link that has a record now, unless the record names it.
    pub(crate) fn forget_adopted_stray(&self, stray: &Stray) -> Result<(), EngineError> {
        self.state().strays.retain(|other| other != stray);
        if !self.state().is_claimed(&stray.pin.display().to_string(), &[]) {
            self.kernel.unpin(&stray.pin)?;
        }
        Ok(())
    }

    fn let_program_go(&self, stray: &Stray) -> Result<(), EngineError> {
        let maps = paths::maps(stray.program);
        let is_used = self.state().programs.values().any(|program| paths::maps(program.map_folder) == maps);
        if !is_used {
            self.remove_tree(&maps)?;
        }
        Ok(self.kernel.unpin(&stray.pin)?)
    }

    fn drop_unrecorded_chains_of(&self, stray: &Stray) -> Result<(), EngineError> {
        let folders = self.unrecorded_chains()?;
        let filters = if folders.is_empty() { FoundFilters::default() } else { self.all_filters()? };
        for folder in folders {
            if self.is_pin_of(&folder.join(paths::segment(0)), stray.program)?
                && !self.is_run_by_stray(stray.program, &filters)?
                && !self.is_running_unrecorded(&folder, &filters)?
            {
                self.remove_tree(&folder)?;
            }
        }
        Ok(())
    }
}

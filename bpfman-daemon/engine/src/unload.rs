//! Unload: a program with all its links leaves.

use std::collections::BTreeSet;

use bpfmand_core::ProgramId;
use bpfmand_kernel::Kernel;

use crate::locks::Subject;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Detaches and unloads a program. Maps stay as long as another program of ours uses them.
    ///
    /// # Errors
    /// See [`EngineError`]; the program and its links stay then.
    pub fn unload(&self, id: ProgramId) -> Result<(), EngineError> {
        // Locks are taken in one order by all: shared maps, programs, hooks.
        let shares = self.state().program(id).is_some_and(|p| p.maps.iter().any(|map| map.shared));
        let _shared = shares.then(|| self.lock(Subject::SharedMaps));
        let (_program_lock, program) = self.lock_program(id)?;
        let links: Vec<_> = self.state().links_of(program.uid).cloned().collect();
        let hooks: BTreeSet<_> = links.iter().filter_map(|link| link.hook).collect();
        let _hook_locks: Vec<_> = hooks.into_iter().map(|key| self.lock(Subject::Hook(key))).collect();
        self.remove("unload", &links, Some(&program))?;
        self.members.remove(program.uid);
        self.drop_bytecode(&program.blob);
        Ok(())
    }
}

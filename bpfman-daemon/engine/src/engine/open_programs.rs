//! One descriptor for a program that many hooks are about to run, instead of one for each of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bpfmand_core::ProgramId;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Programs that operations hold open now. None is held by being in here.
pub struct OpenPrograms<H>(Mutex<HashMap<ProgramId, Weak<H>>>);

impl<H> Default for OpenPrograms<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Kernel> Engine<K> {
    /// Opens a program, or shares the descriptor of an operation that has it open; none if the kernel has no such
    /// program. As long as it is open its id is nobody else's.
    pub(crate) fn open_shared(&self, id: ProgramId) -> Result<Option<Arc<K::Handle>>, EngineError> {
        // Poisoned by a panic elsewhere it is whole: every change is one insertion or removal.
        let lock = || self.open_programs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = lock().get(&id).and_then(Weak::upgrade) {
            return Ok(Some(open));
        }
        let Some(opened) = self.kernel.open_program(id)?.map(Arc::new) else { return Ok(None) };
        let mut open = lock();
        open.retain(|_, program| program.strong_count() > 0);
        open.insert(id, Arc::downgrade(&opened));
        Ok(Some(opened))
    }
}

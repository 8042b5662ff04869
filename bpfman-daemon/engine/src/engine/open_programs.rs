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

    /// The same of a program that has to be there.
    pub(crate) fn shared_program(&self, id: ProgramId) -> Result<Arc<K::Handle>, EngineError> {
        self.open_shared(id)?.ok_or(EngineError::NoKernelProgram(id))
    }

    /// Opens a program that has to be there.
    pub(crate) fn loaded_program(&self, id: ProgramId) -> Result<K::Handle, EngineError> {
        self.kernel.open_program(id)?.ok_or(EngineError::NoKernelProgram(id))
    }

    /// Makes a link run another program than `from`. False if its interface is gone: a namespace is taken down some time
    /// after its name, so that may be at this very moment.
    pub(crate) fn switch_program(
        &self,
        link: &K::Handle,
        from: ProgramId,
        to: &K::Handle,
    ) -> Result<bool, EngineError> {
        let is_gone = || -> Result<bool, EngineError> { Ok(!self.kernel.link_of(link)?.is_live()) };
        if is_gone()? {
            return Ok(false);
        }
        let from = self.shared_program(from)?;
        match self.held_network.during(|| self.kernel.replace(link, to, &from)) {
            Err(_) if is_gone()? => Ok(false),
            result => Ok(result.map(|()| true)?),
        }
    }
}

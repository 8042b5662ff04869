//! Descriptors that operations share, instead of one for each hook.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bpfman_model::ProgramId;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

pub struct OpenPrograms<H>(Mutex<HashMap<ProgramId, Weak<H>>>);

impl<H> Default for OpenPrograms<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns a shared descriptor; `None` if the kernel has no such program. While open, it keeps its id.
    pub(crate) fn open_shared(&self, id: ProgramId) -> Result<Option<Arc<K::Handle>>, EngineError> {
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

    pub(crate) fn shared_program(&self, id: ProgramId) -> Result<Arc<K::Handle>, EngineError> {
        self.open_shared(id)?.ok_or(EngineError::NoKernelProgram(id))
    }

    pub(crate) fn loaded_program(&self, id: ProgramId) -> Result<K::Handle, EngineError> {
        self.kernel.open_program(id)?.ok_or(EngineError::NoKernelProgram(id))
    }

    /// Switches a link from the program `from`. Returns false if its interface is gone, which can happen at any moment.
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

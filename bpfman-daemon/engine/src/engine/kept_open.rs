//! Programs that stay open between readings of their metrics. An open descriptor keeps its program in the kernel: the
//! commit that removes or changes a record closes its program before it returns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_model::ProgramId;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

const MAX_OPEN: usize = 4096;

#[derive(Debug)]
pub struct KeptOpen<H>(Mutex<HashMap<ProgramId, Arc<H>>>);

impl<H> Default for KeptOpen<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<H> KeptOpen<H> {
    /// Ignores poisoning: every change is one insertion or removal. Lock order: this lock, then the state's.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProgramId, Arc<H>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn open_for_reading(&self, id: ProgramId) -> Result<Option<Arc<K::Handle>>, EngineError> {
        if let Some(open) = self.kept_open.lock().get(&id) {
            return Ok(Some(Arc::clone(open)));
        }
        let Some(opened) = self.kernel.open_program(id)?.map(Arc::new) else { return Ok(None) };
        let mut kept = self.kept_open.lock();
        // A commit that removes the record waits for this lock and then closes the program.
        if kept.len() < MAX_OPEN && self.manages(id) {
            kept.insert(id, Arc::clone(&opened));
        }
        Ok(Some(opened))
    }

    pub(crate) fn close_ended(&self, former: &[ProgramId]) {
        if former.is_empty() {
            return;
        }
        let mut kept = self.kept_open.lock();
        for id in former.iter().filter(|id| !self.manages(**id)) {
            kept.remove(id);
        }
    }
}

//! Programs that stay open between readings of their figures: a reading need not open and close each.
//!
//! A descriptor keeps its program in the kernel. So only programs that have a record are kept open, and the commit by which a
//! record ends, or names another program, closes them before it returns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfmand_core::ProgramId;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// So many descriptors at most. Programs beyond them are opened by each reading.
const MOST: usize = 4096;

/// Programs of ours that are open.
#[derive(Debug)]
pub struct KeptOpen<H>(Mutex<HashMap<ProgramId, Arc<H>>>);

impl<H> Default for KeptOpen<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<H> KeptOpen<H> {
    /// Poisoned by a panic elsewhere it is whole: every change is one insertion or removal. Whoever has it may take the
    /// state's lock, and not the other way about.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProgramId, Arc<H>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Kernel> Engine<K> {
    /// A program, open from an earlier reading or opened now; none if the kernel has no such program.
    pub(crate) fn open_for_reading(&self, id: ProgramId) -> Result<Option<Arc<K::Handle>>, EngineError> {
        if let Some(open) = self.kept_open.lock().get(&id) {
            return Ok(Some(Arc::clone(open)));
        }
        let Some(opened) = self.kernel.open_program(id)?.map(Arc::new) else { return Ok(None) };
        let mut kept = self.kept_open.lock();
        // A commit that ends the record now waits for what is kept, and closes it.
        if kept.len() < MOST && self.manages(id) {
            kept.insert(id, Arc::clone(&opened));
        }
        Ok(Some(opened))
    }

    /// Closes those of these programs that no record names any more.
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

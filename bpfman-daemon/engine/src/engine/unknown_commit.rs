//! Recovery from a commit with an unknown outcome, for example on a full disk.
//!
//! Its operation was undone in the kernel, and memory has no record of it: its records are written again as they are in
//! memory, which cancels the commit whether or not it reached the disk.

use std::sync::PoisonError;

use bpfmand_kernel::Kernel;
use bpfmand_store::{Batch, CommitOutcome, StoreError};

use crate::state::{State, Written};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Settles the unknown contents of the store if possible. Otherwise changes are still refused.
    pub(crate) fn settle_doubts(&self) {
        if !self.state().unsure {
            return;
        }
        let _alone = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.state().unsure {
            return;
        }
        match self.write_doubted() {
            Ok(()) => {
                {
                    let mut state = self.state();
                    state.unsure = false;
                    state.in_doubt.clear();
                }
                tracing::info!(
                    "the store can be written again and holds what was acknowledged; changes go on"
                );
                if let Err(error) = self.sweep_bytecode() {
                    tracing::warn!(%error, "unneeded bytecode stays on disk");
                }
            }
            Err(error) => tracing::warn!(%error, "the store cannot be written yet"),
        }
    }

    fn write_doubted(&self) -> Result<(), EngineError> {
        // These records cannot change meanwhile: every other commit is refused.
        let batch = as_in_memory(&self.state())?;
        // Check that the store can be read, even if there is nothing to write.
        self.options.store.load()?;
        match self.options.store.commit(batch) {
            Err(StoreError::NotSaved { outcome: CommitOutcome::Applied, .. }) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// Returns the doubtful records as in memory, without leftovers: their change did not happen, or they ended.
fn as_in_memory(state: &State) -> Result<Batch, EngineError> {
    let mut written = Written::default();
    for key in &state.in_doubt {
        match state.record(*key) {
            Some(record) => written.put(*key, record.encode()?),
            None => written.end(*key),
        }
    }
    Ok(written.batch)
}

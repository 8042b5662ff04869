//! After a commit of which nobody knows whether it is on disk, such as on a full disk: the store is made to hold what was
//! acknowledged, and changes go on.
//!
//! The operation of that commit was answered by an error and undone in the kernel, and no record in memory knows of it.
//! So the records that it would have changed are written again as they are in memory: whether it reached the disk or not,
//! it has not happened then.

use std::sync::PoisonError;

use bpfmand_kernel::Kernel;
use bpfmand_store::{Batch, CommitOutcome, StoreError};

use crate::state::{State, Written};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Settles what nobody knows of the store, if the store can be read and written again. If not, changes are refused
    /// still.
    pub(crate) fn settle_doubts(&self) {
        if !self.state().unsure {
            return;
        }
        // Poisoned by a panic elsewhere it guards nothing that could be half done: the doubts are in the state.
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
                    tracing::warn!(%error, "bytecode that nobody needs stays on disk");
                }
            }
            Err(error) => tracing::warn!(%error, "the store cannot be written yet"),
        }
    }

    fn write_doubted(&self) -> Result<(), EngineError> {
        // Nobody changes these records meanwhile: every other commit is refused.
        let batch = as_in_memory(&self.state())?;
        // Also where there is nothing to be written: what is on disk has to be readable.
        self.options.store.load()?;
        match self.options.store.commit(batch) {
            Err(StoreError::NotSaved { outcome: CommitOutcome::Applied, .. }) => Ok(()),
            result => Ok(result?),
        }
    }
}

/// The records in doubt, as they are in memory. Of leftovers memory has none: they are what a change that did not happen
/// would have left to be removed, or what is gone from the kernel already.
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

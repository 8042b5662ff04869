//! How often the chain of each hook was swapped, and how long that took.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_core::HookKey;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Swaps of one hook's chain since the engine was opened, or since the hook was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainSwaps {
    /// How many there were, those of an undo too.
    pub swaps: u64,
    /// Time that the kernel took for them.
    pub total: Duration,
}

/// Of all hooks that have a record.
#[derive(Debug, Default)]
pub struct SwapCounts(Mutex<HashMap<HookKey, ChainSwaps>>);

impl SwapCounts {
    /// Whole after a panic elsewhere: each change is of one entry.
    fn lock(&self) -> MutexGuard<'_, HashMap<HookKey, ChainSwaps>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, hook: &HookKey) -> ChainSwaps {
        self.lock().get(hook).copied().unwrap_or_default()
    }

    /// To be called when a hook's record ended.
    pub fn forget(&self, hook: &HookKey) {
        self.lock().remove(hook);
    }
}

impl<K: Kernel> Engine<K> {
    /// Swaps the chain of a hook and counts it, if it says that there was one: not at an interface that is gone.
    pub(crate) fn swapping(
        &self,
        hook: &HookKey,
        swap: impl FnOnce() -> Result<bool, EngineError>,
    ) -> Result<(), EngineError> {
        let begun = Instant::now();
        if !swap()? {
            return Ok(());
        }
        let took = begun.elapsed();
        let mut counts = self.swaps.lock();
        let counted = counts.entry(*hook).or_default();
        counted.swaps += 1;
        counted.total += took;
        Ok(())
    }
}

//! Numbers and times of swaps of the chain of each hook.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::HookKey;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Swaps of one hook's chain since the engine was opened, or since the hook was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainSwaps {
    /// Number of swaps, including those of an undo.
    pub swaps: u64,
    /// Time that the kernel needed for them.
    pub total: Duration,
}

#[derive(Debug, Default)]
pub struct SwapCounts(Mutex<HashMap<HookKey, ChainSwaps>>);

impl SwapCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<HookKey, ChainSwaps>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of(&self, hook: &HookKey) -> ChainSwaps {
        self.lock().get(hook).copied().unwrap_or_default()
    }

    pub fn forget(&self, hook: &HookKey) {
        self.lock().remove(hook);
    }
}

impl<K: Kernel> Engine<K> {
    /// Runs and counts a swap. `swap` returns false, and is not counted, if the interface is gone.
    pub(crate) fn swap_and_count(
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

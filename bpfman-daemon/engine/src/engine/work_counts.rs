//! Counters and times of the engine's work, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bpfman_model::{CountedDurations, DurationCounts};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

#[derive(Debug, Default)]
pub struct WorkCounts {
    pub commits: DurationCounts,
    pub verified: DurationCounts,
    pub refused: DurationCounts,
    pub chain_programs: DurationCounts,
    instructions: AtomicU64,
    loads: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WorkCounters {
    pub commits: CountedDurations,
    /// Programs of loads that the verifier accepted.
    pub verified: CountedDurations,
    /// Programs of loads that the kernel refused.
    pub refused: CountedDurations,
    /// Programs of chains, accepted or refused.
    pub chain_programs: CountedDurations,
    /// Instructions that the verifier processed for accepted programs of loads (Linux 5.16 on).
    pub instructions: u64,
    /// Number of loads and replacements by outcome: `loaded`, or the kind of failure.
    pub loads: BTreeMap<&'static str, u64>,
    /// Times that calls waited for a lock of the engine. Locks acquired at once are not counted.
    pub lock_waits: CountedDurations,
}

impl WorkCounts {
    pub fn add_instructions(&self, instructions: u32) {
        self.instructions.fetch_add(instructions.into(), Ordering::Relaxed);
    }

    pub fn load<T>(&self, done: &Result<T, EngineError>) {
        let outcome = done.as_ref().err().map_or("loaded", |error| error.kind().name());
        *self.loads.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns the counters since the engine was opened.
    #[must_use]
    pub fn work_done(&self) -> WorkCounters {
        let counts = &self.work;
        WorkCounters {
            commits: counts.commits.counted(),
            verified: counts.verified.counted(),
            refused: counts.refused.counted(),
            chain_programs: counts.chain_programs.counted(),
            instructions: counts.instructions.load(Ordering::Relaxed),
            loads: counts.loads.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lock_waits: self.locks.waits(),
        }
    }
}

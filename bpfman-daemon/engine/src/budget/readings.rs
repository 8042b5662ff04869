//! CPU use of programs, from the kernel's run statistics. A chain's time is divided among its members by packets and by
//! the time per packet that its timed twin measured. Time that the twin does not explain is charged to no program.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_model::{ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::exceeded::CpuUse;
use crate::chain::shares;
use crate::state::cpu_time::{ChainReading, FinalReadings, ProgramReading};
use crate::state::payer;
use crate::state::records::{HookRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// Counters at one moment.
#[derive(Debug)]
pub struct CpuReadings {
    at: Instant,
    alone: HashMap<ProgramId, ProgramReading>,
    chains: HashMap<ProgramId, ChainReading>,
    departed: FinalReadings,
}

impl CpuReadings {
    /// Returns the time since the readings.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// Returns the time between other readings and these.
    #[must_use]
    pub fn since(&self, others: &Self) -> Duration {
        self.at.saturating_duration_since(others.at)
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns whether a program is attached that `counts` selects.
    pub fn runs_any(&self, counts: impl Fn(&ProgramRecord) -> bool) -> bool {
        let state = self.state();
        let program = |uid| state.programs.get(&uid);
        state.links.values().any(|link| program(link.program).is_some_and(|program| counts(program)))
    }

    /// Reads the counters of programs; see [`bpfmand_kernel::KernelFacts::count_runs`].
    pub fn read_cpu(&self) -> Result<CpuReadings, EngineError> {
        let (programs, hooks, departed) = {
            let mut state = self.state();
            let departed = state.departed.replace(FinalReadings::default()).unwrap_or_default();
            // Not only attached ones: earlier counts must not be charged to this window.
            let loaded = state.programs.values().filter(|program| !state.lost.contains(&program.uid));
            let kept = state.previous.values().filter(|previous| previous.boot == self.boot);
            let programs: Vec<Arc<ProgramRecord>> =
                loaded.cloned().chain(kept.map(|previous| Arc::new(previous.program.clone()))).collect();
            (programs, state.hooks.values().cloned().collect::<Vec<Arc<HookRecord>>>(), departed)
        };
        let mut read =
            CpuReadings { at: Instant::now(), alone: HashMap::new(), chains: HashMap::new(), departed };
        for program in programs {
            read.alone.extend(self.read_alone(&program)?.map(|reading| (program.id, reading)));
        }
        for hook in hooks {
            let Some(chain) = &hook.chain else { continue };
            self.read_chain(&hook.key, chain, &hook.slots, &mut read.chains)?;
        }
        Ok(read)
    }

    /// Ends measuring: counters of programs that end are no longer read.
    pub fn end_of_readings(&self) {
        self.state().departed = None;
    }

    /// Returns the CPU use of each managed program between two readings, by its current record.
    #[must_use]
    pub fn cpu_between(&self, before: &CpuReadings, after: &CpuReadings) -> Vec<CpuUse> {
        let mut took: BTreeMap<ProgramUid, u64> = BTreeMap::new();
        let mut met: BTreeMap<ProgramUid, u64> = BTreeMap::new();
        let departed = &after.departed;
        // If a program that was about to end still exists, its counters have continued: use the later values.
        let alone = departed.alone.iter().filter(|(id, _)| !after.alone.contains_key(id)).chain(&after.alone);
        for (id, now) in alone {
            let then = before.alone.get(id).map(|then| (then.nanoseconds, then.runs));
            if let Some((nanoseconds, runs)) = then.or(now.is_ours.then_some((0, 0))) {
                *took.entry(now.program).or_default() += now.nanoseconds.saturating_sub(nanoseconds);
                if now.meets_traps {
                    *met.entry(now.program).or_default() += now.runs.saturating_sub(runs);
                }
            }
        }
        let mut chains = after.chains.clone();
        for (entry, left) in &departed.chains {
            chains.entry(*entry).or_default().add(left.clone());
        }
        let state = self.state();
        for (entry, now) in &chains {
            // Everything that a new chain counted belongs to this window.
            let none = now.before_all();
            for (program, nanoseconds) in shares(before.chains.get(entry).unwrap_or(&none), now) {
                *took.entry(program).or_default() += nanoseconds;
            }
        }
        let of = |(program, nanoseconds)| {
            let record = state.programs.get(&program);
            let of_record = |record: &Arc<ProgramRecord>| (record.owner(), payer(record));
            let (owner, payer) = record.map(of_record).or_else(|| departed.owners.get(&program).cloned())?;
            let limit = record.and_then(|record| record.budget.cpu);
            let traps = met.get(&program).copied().unwrap_or_default();
            let is_attached =
                state.links_of(program).next().is_some() || !state.matchings_of(program).is_empty();
            let is_loaded = record.is_some();
            Some(CpuUse { program, owner, payer, limit, nanoseconds, traps, is_loaded, is_attached })
        };
        took.into_iter().filter_map(of).collect()
    }
}

//! What the kernel's run statistics say that programs took.
//!
//! The kernel times whole programs, so it times a chain, not its members. What a chain took is divided among its members
//! by how many packets reached each, and what each took a packet by the chain's timed twin, and nobody is charged for what
//! the twin does not explain. A chain of one program's members is that program's. Where nothing is known of the members,
//! nobody is charged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_core::{ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::judge::CpuUse;
use crate::chain::shares;
use crate::state::cpu_time::{AloneReading, ChainReading, Departed};
use crate::state::records::{HookRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// What was counted until a moment.
#[derive(Debug)]
pub struct CpuReadings {
    at: Instant,
    /// Of loaded programs, by the kernel's id: what they ran by themselves.
    alone: HashMap<ProgramId, AloneReading>,
    /// Of chains, by the kernel's id of their entry.
    chains: HashMap<ProgramId, ChainReading>,
    /// What left since the readings before.
    departed: Departed,
}

impl CpuReadings {
    /// How long ago it was.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    /// How long it was from others until these.
    #[must_use]
    pub fn since(&self, others: &Self) -> Duration {
        self.at.saturating_duration_since(others.at)
    }
}

impl<K: Kernel> Engine<K> {
    /// True while a program is attached that `counts`.
    pub fn runs_any(&self, counts: impl Fn(&ProgramRecord) -> bool) -> bool {
        let state = self.state();
        let program = |uid| state.programs.get(&uid);
        state.links.values().any(|link| program(link.program).is_some_and(|program| counts(program)))
    }

    /// What was counted until now of attached programs. The kernel counts only while somebody has it count
    /// ([`bpfmand_kernel::KernelFacts::count_runs`]).
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn read_cpu(&self) -> Result<CpuReadings, EngineError> {
        let (programs, hooks, departed) = {
            let mut state = self.state();
            let departed = state.departed.replace(Departed::default()).unwrap_or_default();
            // Not only attached ones: what one counted before it is attached again is not of that time.
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

    /// Nobody measures any more: what leaves is not read.
    pub fn end_of_readings(&self) {
        self.state().departed = None;
    }

    /// What each program of ours took between two readings, by its record as it is now.
    #[must_use]
    pub fn cpu_between(&self, before: &CpuReadings, after: &CpuReadings) -> Vec<CpuUse> {
        let mut took: BTreeMap<ProgramUid, u64> = BTreeMap::new();
        let departed = &after.departed;
        // A program that is still there though it was about to leave has counted on.
        let alone = departed.alone.iter().filter(|(id, _)| !after.alone.contains_key(id)).chain(&after.alone);
        for (id, now) in alone {
            let then = before.alone.get(id).map(|then| then.nanoseconds);
            if let Some(then) = then.or(now.is_ours.then_some(0)) {
                *took.entry(now.program).or_default() += now.nanoseconds.saturating_sub(then);
            }
        }
        let mut chains = after.chains.clone();
        for (entry, left) in &departed.chains {
            chains.entry(*entry).or_default().add(left.clone());
        }
        let state = self.state();
        for (entry, now) in &chains {
            // A chain is loaded by us, so all that a new one counted is of this time.
            let none = now.before_all();
            for (program, nanoseconds) in shares(before.chains.get(entry).unwrap_or(&none), now) {
                *took.entry(program).or_default() += nanoseconds;
            }
        }
        let of = |(program, nanoseconds)| {
            let record = state.programs.get(&program);
            let owner =
                record.map(|record| record.owner()).or_else(|| departed.owners.get(&program).cloned())?;
            let limit = record.and_then(|record| record.budget.cpu);
            Some(CpuUse { program, owner, limit, nanoseconds, is_loaded: record.is_some() })
        };
        took.into_iter().filter_map(of).collect()
    }
}

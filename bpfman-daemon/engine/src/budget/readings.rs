//! What the kernel's run statistics say that programs took.
//!
//! The kernel times whole programs, so it times a chain, not its members. What a chain took is divided among its members
//! by how many packets reached each, and what each took a packet by the chain's timed twin, and nobody is charged for what
//! the twin does not explain. A chain of one program's members is that program's. Where nothing is known of the members, nobody is charged.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_core::{ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::judge::CpuUse;
use crate::state::cpu_time::{AloneReading, ChainReading, Departed, MemberReading};
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
            match chains.entry(*entry) {
                // Another hook runs it still.
                Entry::Occupied(mut now) => now.get_mut().add(left),
                Entry::Vacant(place) => {
                    place.insert(left.clone());
                }
            }
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

/// What each member took of a chain's time.
fn shares(then: &ChainReading, now: &ChainReading) -> Vec<(ProgramUid, u64)> {
    let took = now.nanoseconds.saturating_sub(then.nanoseconds);
    let Some(first) = now.members.first().map(|member| member.program) else { return Vec::new() };
    if now.members.iter().all(|member| member.program == first) {
        return vec![(first, took)];
    }
    let weight = |(then, now): (&MemberReading, &MemberReading)| {
        let packets = now.packets.saturating_sub(then.packets);
        // Of a window without samples, those before it say what a packet takes.
        let recent = now.time.since(&then.time).nanoseconds_per_run();
        let each = recent.or_else(|| now.time.nanoseconds_per_run()).unwrap_or(0.0);
        packets as f64 * each
    };
    let weights: Vec<f64> = then.members.iter().zip(&now.members).map(weight).collect();
    let all: f64 = weights.iter().sum();
    if all <= 0.0 {
        return Vec::new();
    }
    // Nobody is charged for more than the samples say that it took: a neighbour may be slow where no sample is taken.
    let scale = (took as f64 / all).min(1.0);
    let part = |(member, weight): (&MemberReading, &f64)| (member.program, (weight * scale) as u64);
    now.members.iter().zip(&weights).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::cpu_time::MemberTime;

    fn reading(nanoseconds: u64, members: &[(u64, u64, u64, u64)]) -> ChainReading {
        let member = |(program, packets, samples, nanoseconds): &(u64, u64, u64, u64)| MemberReading {
            program: ProgramUid(*program),
            packets: *packets,
            time: MemberTime { samples: *samples, nanoseconds: *nanoseconds, ..MemberTime::default() },
        };
        ChainReading { nanoseconds, members: members.iter().map(member).collect() }
    }

    fn shared(then: &ChainReading, now: &ChainReading) -> Vec<(u64, u64)> {
        shares(then, now).into_iter().map(|(uid, nanoseconds)| (uid.0, nanoseconds)).collect()
    }

    #[test]
    fn a_chains_time_is_divided_by_packets_and_by_what_each_takes() {
        let then = reading(1_000, &[(1, 100, 10, 1_000), (2, 100, 10, 1_000)]);
        // Nine of ten packets end at the first; the second takes a hundred times as much for each.
        let now = reading(110_000, &[(1, 1_100, 20, 2_000), (2, 200, 20, 101_000)]);
        assert_eq!(shared(&then, &now), [(1, 9_909), (2, 99_090)]);
        // A chain that took more than the samples say: what they do not explain is nobody's.
        let now = reading(1_001_000, &[(1, 200, 20, 2_000), (2, 200, 20, 2_000)]);
        assert_eq!(shared(&then, &now), [(1, 10_000), (2, 10_000)]);
        // Without samples in the window, those of before.
        let now = reading(21_000, &[(1, 200, 10, 1_000), (2, 200, 10, 1_000)]);
        assert_eq!(shared(&then, &now), [(1, 10_000), (2, 10_000)]);
    }

    #[test]
    fn nobody_is_charged_for_what_is_not_known() {
        let then = reading(0, &[(1, 0, 0, 0), (2, 0, 0, 0)]);
        let now = reading(5_000, &[(1, 100, 0, 0), (2, 100, 0, 0)]);
        assert_eq!(shared(&then, &now), []);
        // A chain of one program is that program's.
        let (then, now) = (reading(0, &[(1, 0, 0, 0)]), reading(5_000, &[(1, 100, 0, 0)]));
        assert_eq!(shared(&then, &now), [(1, 5_000)]);
    }
}

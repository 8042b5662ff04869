//! What the kernel's run statistics say that programs took.
//!
//! The kernel times whole programs, so it times a chain, not its members. What a chain took is divided among its members
//! by how many packets reached each, and what each took a packet by the chain's timed twin. A chain of one program's
//! members is that program's. Where nothing is known of the members, nobody is charged.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfmand_core::{ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::judge::CpuUse;
use crate::chain::times::MemberTime;
use crate::state::chain_record::HookCounted;
use crate::state::records::{HookRecord, ProgramRecord};
use crate::{Engine, EngineError};

/// What was counted until a moment.
#[derive(Debug)]
pub struct CpuReadings {
    at: Instant,
    /// Of programs that run by themselves, by the kernel's id.
    alone: HashMap<ProgramId, u64>,
    /// Of chains, by the kernel's id of their entry.
    chains: HashMap<ProgramId, ChainReading>,
}

#[derive(Debug, Default)]
struct ChainReading {
    nanoseconds: u64,
    members: Vec<MemberReading>,
}

/// What was counted of a member, at all hooks that run the chain.
#[derive(Clone, Copy, Debug)]
struct MemberReading {
    program: ProgramUid,
    packets: u64,
    time: MemberTime,
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
        let (programs, hooks) = {
            let state = self.state();
            let attached = |uid: &ProgramUid| state.links_of(*uid).next().is_some();
            let programs = state.programs.iter().filter(|(uid, _)| attached(uid));
            let programs: Vec<ProgramId> = programs.map(|(_, program)| program.id).collect();
            (programs, state.hooks.values().cloned().collect::<Vec<Arc<HookRecord>>>())
        };
        let mut read = CpuReadings { at: Instant::now(), alone: HashMap::new(), chains: HashMap::new() };
        for id in programs {
            read.alone.extend(self.ran(id)?.map(|ran| (id, ran)));
        }
        for hook in hooks {
            self.read_chain(&hook, &mut read)?;
        }
        Ok(read)
    }

    /// Nanoseconds that a program ran; none if it is gone.
    fn ran(&self, id: ProgramId) -> Result<Option<u64>, EngineError> {
        let Some(program) = self.kernel.open_program(id)? else { return Ok(None) };
        Ok(Some(self.kernel.run_counts(&program)?.nanoseconds))
    }

    fn read_chain(&self, hook: &HookRecord, read: &mut CpuReadings) -> Result<(), EngineError> {
        let Some(chain) = &hook.chain else { return Ok(()) };
        let Some(entry) = chain.segments.first().filter(|_| chain.boot == self.boot) else { return Ok(()) };
        let mut counted = HookCounted::default();
        self.add_row(&mut counted, chain, &hook.slots, &hook.key)?;
        let times = self.chain_times(&hook.key, chain)?.unwrap_or_default();
        let reading = match read.chains.entry(entry.program) {
            Entry::Occupied(reading) => reading.into_mut(),
            Entry::Vacant(place) => {
                let Some(nanoseconds) = self.ran(entry.program)? else { return Ok(()) };
                let none = |program| MemberReading { program, packets: 0, time: MemberTime::default() };
                let members = chain.members.iter().map(|member| none(member.program)).collect();
                place.insert(ChainReading { nanoseconds, members })
            }
        };
        for (place, member) in reading.members.iter_mut().enumerate() {
            let of_link = hook.slots.get(place).and_then(|link| counted.links.get(link));
            member.packets += of_link.map_or(0, |counted| counted.runs);
            if let Some(time) = times.get(place) {
                member.time = sum(&member.time, time);
            }
        }
        Ok(())
    }

    /// What each program of ours took between two readings, by its record as it is now.
    #[must_use]
    pub fn cpu_between(&self, before: &CpuReadings, after: &CpuReadings) -> Vec<CpuUse> {
        let mut took: BTreeMap<ProgramUid, u64> = BTreeMap::new();
        let state = self.state();
        for (id, now) in &after.alone {
            if let (Some(then), Some(program)) = (before.alone.get(id), state.program(*id)) {
                *took.entry(program.uid).or_default() += now.saturating_sub(*then);
            }
        }
        for (entry, now) in &after.chains {
            let Some(then) = before.chains.get(entry) else { continue };
            for (program, nanoseconds) in shares(then, now) {
                *took.entry(program).or_default() += nanoseconds;
            }
        }
        let of = |(program, nanoseconds)| {
            let record = state.programs.get(&program)?;
            Some(CpuUse { program, owner: record.owner(), limit: record.budget.cpu, nanoseconds })
        };
        took.into_iter().filter_map(of).collect()
    }
}

fn sum(one: &MemberTime, other: &MemberTime) -> MemberTime {
    MemberTime {
        samples: one.samples + other.samples,
        nanoseconds: one.nanoseconds + other.nanoseconds,
        clock_samples: one.clock_samples + other.clock_samples,
        clock_nanoseconds: one.clock_nanoseconds + other.clock_nanoseconds,
    }
}

fn since(then: &MemberTime, now: &MemberTime) -> MemberTime {
    MemberTime {
        samples: now.samples.saturating_sub(then.samples),
        nanoseconds: now.nanoseconds.saturating_sub(then.nanoseconds),
        clock_samples: now.clock_samples.saturating_sub(then.clock_samples),
        clock_nanoseconds: now.clock_nanoseconds.saturating_sub(then.clock_nanoseconds),
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
        let recent = since(&then.time, &now.time).nanoseconds_per_run();
        let each = recent.or_else(|| now.time.nanoseconds_per_run()).unwrap_or(0.0);
        packets as f64 * each
    };
    let weights: Vec<f64> = then.members.iter().zip(&now.members).map(weight).collect();
    let all: f64 = weights.iter().sum();
    if all <= 0.0 {
        return Vec::new();
    }
    let part =
        |(member, weight): (&MemberReading, &f64)| (member.program, (took as f64 * weight / all) as u64);
    now.members.iter().zip(&weights).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

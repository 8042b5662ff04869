//! CPU time of programs, chains and their members.

use std::collections::HashMap;
use std::hash::Hash;

use bpfman_model::{Owner, ProgramId, ProgramUid};

use super::MapGroup;
use super::records::ProgramRecord;

/// Samples of one member since its hook began to run this chain, with the cost of reading the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTime {
    /// Number of packets whose time in the member was measured.
    pub samples: u64,
    /// Total time of these packets, in nanoseconds, including the cost of reading the clock.
    pub nanoseconds: u64,
    /// Number of measurements of that cost.
    pub clock_samples: u64,
    /// Total of these measurements, in nanoseconds.
    pub clock_nanoseconds: u64,
}

impl MemberTime {
    /// Returns the mean time of a run in nanoseconds, without the clock's cost; `None` before the first sample.
    #[must_use]
    pub fn nanoseconds_per_run(&self) -> Option<f64> {
        let mean = |nanoseconds: u64, samples: u64| nanoseconds as f64 / samples as f64;
        let clock =
            if self.clock_samples == 0 { 0.0 } else { mean(self.clock_nanoseconds, self.clock_samples) };
        (self.samples > 0).then(|| (mean(self.nanoseconds, self.samples) - clock).max(0.0))
    }

    /// Returns the sum of both.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            samples: self.samples + other.samples,
            nanoseconds: self.nanoseconds + other.nanoseconds,
            clock_samples: self.clock_samples + other.clock_samples,
            clock_nanoseconds: self.clock_nanoseconds + other.clock_nanoseconds,
        }
    }

    /// Returns the difference from an earlier value.
    #[must_use]
    pub const fn since(&self, then: &Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(then.samples),
            nanoseconds: self.nanoseconds.saturating_sub(then.nanoseconds),
            clock_samples: self.clock_samples.saturating_sub(then.clock_samples),
            clock_nanoseconds: self.clock_nanoseconds.saturating_sub(then.clock_nanoseconds),
        }
    }
}

/// Returns whether the program is a tenant's, and runs by a breakpoint in a file that others may map.
#[must_use]
pub fn is_tenants_probe(program: &ProgramRecord) -> bool {
    use bpfman_model::ProgramType::{Uprobe, UprobeMulti, Uretprobe, UretprobeMulti};
    program.guard.is_some()
        && matches!(program.program_type, Uprobe | UprobeMulti | Uretprobe | UretprobeMulti)
}

#[derive(Clone, Copy, Debug)]
pub struct ProgramReading {
    pub program: ProgramUid,
    pub nanoseconds: u64,
    pub runs: u64,
    /// True if each run is a breakpoint of a tenant's probe.
    pub meets_traps: bool,
    /// True if the daemon loaded the program: a first reading is charged in full. An adopted program ran before.
    pub is_ours: bool,
}

#[derive(Clone, Debug, Default)]
pub struct ChainReading {
    pub nanoseconds: u64,
    pub members: Vec<MemberReading>,
}

#[derive(Clone, Copy, Debug)]
pub struct MemberReading {
    pub program: ProgramUid,
    pub packets: u64,
    pub time: MemberTime,
}

impl ChainReading {
    pub fn before_all(&self) -> Self {
        let none =
            |member: &MemberReading| MemberReading { packets: 0, time: MemberTime::default(), ..*member };
        Self { nanoseconds: 0, members: self.members.iter().map(none).collect() }
    }

    /// Adds the members' counts of another hook. The chain's own time covers all hooks: the later reading is kept.
    pub fn add(&mut self, other: Self) {
        self.nanoseconds = self.nanoseconds.max(other.nanoseconds);
        if self.members.is_empty() {
            self.members = other.members;
            return;
        }
        for (member, other) in self.members.iter_mut().zip(&other.members) {
            member.packets += other.packets;
            member.time = member.time.and(&other.time);
        }
    }
}

/// Final readings of removed programs and chains: one that exists only between two readings is charged, too.
#[derive(Debug, Default)]
pub struct FinalReadings {
    pub owners: HashMap<ProgramUid, (Owner, MapGroup)>,
    pub alone: HashMap<ProgramId, ProgramReading>,
    pub chains: HashMap<ProgramId, ChainReading>,
}

const MAX_FINAL_READINGS: usize = 1_024;
const MAX_OWNERS: usize = 16_384;

impl FinalReadings {
    pub fn add_program(&mut self, id: ProgramId, reading: ProgramReading, owner: (Owner, MapGroup)) {
        if self.owners.len() < MAX_OWNERS {
            self.owners.insert(reading.program, owner);
        }
        if make_room(&mut self.alone, id, reading.nanoseconds, |one| one.nanoseconds) {
            self.alone.insert(id, reading);
        }
    }

    pub fn add_chain(&mut self, entry: ProgramId, reading: ChainReading) {
        if make_room(&mut self.chains, entry, reading.nanoseconds, |one| one.nanoseconds) {
            self.chains.entry(entry).or_default().add(reading);
        }
    }
}

/// Removes the smallest reading of many: programs that hardly run must not displace what is to be charged.
fn make_room<K: Copy + Eq + Hash, V>(
    readings: &mut HashMap<K, V>,
    new: K,
    took: u64,
    of: impl Fn(&V) -> u64,
) -> bool {
    if readings.len() < MAX_FINAL_READINGS || readings.contains_key(&new) {
        return true;
    }
    let least = readings.iter().map(|(id, one)| (*id, of(one))).min_by_key(|(_, took)| *took);
    match least {
        Some((id, least)) if least < took => readings.remove(&id).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_programs_that_hardly_ran_displace_no_reading() {
        let reading = |program, nanoseconds| ProgramReading {
            program: ProgramUid(program),
            nanoseconds,
            runs: 1,
            meets_traps: false,
            is_ours: true,
        };
        let owner = || (Owner::User(7), MapGroup::User(7));
        let mut departed = FinalReadings::default();
        for program in 0..1_030 {
            departed.add_program(ProgramId(program as u32), reading(program, 1), owner());
            departed
                .add_chain(ProgramId(program as u32), ChainReading { nanoseconds: 1, members: Vec::new() });
        }
        departed.add_program(ProgramId(5_000), reading(5_000, 90), owner());
        departed.add_chain(ProgramId(5_000), ChainReading { nanoseconds: 90, members: Vec::new() });
        assert_eq!((departed.alone.len(), departed.chains.len()), (1_024, 1_024));
        assert_eq!(departed.alone[&ProgramId(5_000)].nanoseconds, 90);
        assert_eq!(departed.chains[&ProgramId(5_000)].nanoseconds, 90);
        assert!(departed.owners.contains_key(&ProgramUid(5_000)));
    }
}

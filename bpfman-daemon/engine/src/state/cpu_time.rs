//! What was counted of the time of programs, chains and their members.

use std::collections::HashMap;

use bpfmand_core::{Owner, ProgramId, ProgramUid};

/// What was sampled of one member since its hook runs this chain, and what the clock takes by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTime {
    /// Packets whose time in the member was taken.
    pub samples: u64,
    /// Their time in nanoseconds, the clock's own in it.
    pub nanoseconds: u64,
    /// How often the clock's own time was taken.
    pub clock_samples: u64,
    /// That time in nanoseconds.
    pub clock_nanoseconds: u64,
}

impl MemberTime {
    /// Mean nanoseconds of a run without the clock's own, at least 0; none before the first sample.
    #[must_use]
    pub fn nanoseconds_per_run(&self) -> Option<f64> {
        let mean = |nanoseconds: u64, samples: u64| nanoseconds as f64 / samples as f64;
        let clock =
            if self.clock_samples == 0 { 0.0 } else { mean(self.clock_nanoseconds, self.clock_samples) };
        (self.samples > 0).then(|| (mean(self.nanoseconds, self.samples) - clock).max(0.0))
    }

    /// Both together.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            samples: self.samples + other.samples,
            nanoseconds: self.nanoseconds + other.nanoseconds,
            clock_samples: self.clock_samples + other.clock_samples,
            clock_nanoseconds: self.clock_nanoseconds + other.clock_nanoseconds,
        }
    }

    /// What came since then.
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

/// What a program ran by itself.
#[derive(Clone, Copy, Debug)]
pub struct AloneReading {
    pub program: ProgramUid,
    pub nanoseconds: u64,
    /// True if its count began with us: all of it counts, if it was not there at the look before.
    pub is_ours: bool,
}

/// What a chain ran, at all hooks that run it.
#[derive(Clone, Debug, Default)]
pub struct ChainReading {
    pub nanoseconds: u64,
    pub members: Vec<MemberReading>,
}

/// What was counted of a member, at all hooks that run the chain.
#[derive(Clone, Copy, Debug)]
pub struct MemberReading {
    pub program: ProgramUid,
    pub packets: u64,
    pub time: MemberTime,
}

impl ChainReading {
    /// The same chain before it ran.
    pub fn before_all(&self) -> Self {
        let none =
            |member: &MemberReading| MemberReading { packets: 0, time: MemberTime::default(), ..*member };
        Self { nanoseconds: 0, members: self.members.iter().map(none).collect() }
    }

    /// What members met at another hook.
    pub fn add(&mut self, other: &Self) {
        for (member, other) in self.members.iter_mut().zip(&other.members) {
            member.packets += other.packets;
            member.time = member.time.and(&other.time);
        }
    }
}

/// What programs and chains had counted when they left: who comes and goes between two looks is charged for all of it.
#[derive(Debug, Default)]
pub struct Departed {
    pub owners: HashMap<ProgramUid, Owner>,
    pub alone: HashMap<ProgramId, AloneReading>,
    pub chains: HashMap<ProgramId, ChainReading>,
}

//! What programs, chains and maps counted until a moment: cumulative, so that readers compute rates of two readings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bpfmand_core::{HookKey, LinkId, MapFacts, MapId, Owner, ProgramFacts, ProgramId, RunCounts};

use crate::chain::{LinkCounters, MemberTime};
use crate::engine::swap_counts::ChainSwaps;
use crate::state::records::{LinkRecord, ProgramRecord};

/// One reading.
#[derive(Clone, Debug)]
pub struct Figures {
    /// When it was taken.
    pub at: Instant,
    /// Loaded programs, by id: ours, and where a reader asked for them those of others. Programs that chains consist of are not among them.
    pub programs: Vec<ProgramFigures>,
    /// Chains of ours, by hook. Hooks of type tcx have none: the kernel runs their programs one by one.
    pub chains: Vec<ChainFigures>,
    /// Maps of programs of ours, by id.
    pub maps: Vec<MapFigures>,
}

/// A program.
#[derive(Clone, Debug)]
pub struct ProgramFigures {
    /// The kernel's id.
    pub id: ProgramId,
    /// None for programs of others.
    pub record: Option<Arc<ProgramRecord>>,
    /// What the kernel says of it.
    pub facts: Arc<ProgramFacts>,
    /// What it ran by itself, while anyone had the kernel count.
    pub counts: RunCounts,
    /// Nanoseconds that it took as a member of chains since the desk began to read, as far as chains tell: the kernel
    /// times whole chains, so this needs timing of the chain where it has several programs.
    pub in_chains: u64,
    /// Where it is attached.
    pub places: ProgramPlaces,
}

/// Where a program is attached. The texts are made for who wants them: most readings are of what was read before.
#[derive(Clone, Debug, Default)]
pub struct ProgramPlaces(Vec<Arc<LinkRecord>>);

impl ProgramPlaces {
    pub(super) fn add(&mut self, link: &Arc<LinkRecord>) {
        self.0.push(Arc::clone(link));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Hooks as commands name them, other places in words.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let text = |link: &Arc<LinkRecord>| {
            let hook = link.hook.zip(link.point.hook());
            hook.map_or_else(|| link.point.to_string(), |(key, (interface, _))| key.kind.at(interface))
        };
        self.0.iter().map(text).collect()
    }
}

impl ProgramFigures {
    /// True if all that does not count is what another reading had. Records are never changed: a change makes another one.
    #[must_use]
    pub fn is_described_as(&self, other: &Self) -> bool {
        let is_same_record = match (&self.record, &other.record) {
            (Some(one), Some(another)) => Arc::ptr_eq(one, another),
            (one, another) => one.is_none() && another.is_none(),
        };
        let (places, of_other) = (&self.places.0, &other.places.0);
        self.id == other.id
            && is_same_record
            && Arc::ptr_eq(&self.facts, &other.facts)
            && places.len() == of_other.len()
            && places.iter().zip(of_other).all(|(one, another)| Arc::ptr_eq(one, another))
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFigures {
    /// The hook.
    pub key: HookKey,
    /// The hook as commands name it.
    pub hook: String,
    /// "xdp", "tcx" or "clsact".
    pub mode: &'static str,
    /// As in [`crate::ChainDetails`].
    pub strategy: &'static str,
    /// The program that the kernel runs; other hooks may run it too.
    pub entry: ProgramId,
    /// What that program ran, at all hooks that run it, while anyone had the kernel count. None if it is gone.
    pub counts: Option<RunCounts>,
    /// True if it counts packets by member.
    pub counters: bool,
    /// True if it times its members.
    pub timing: bool,
    /// In the order they run.
    pub members: Vec<MemberFigures>,
    /// Packets for which every member proceeded; 0 where counters are off.
    pub all_proceeded: u64,
    /// Packets that a tail call lost.
    pub failed: u64,
    /// How often another program was put in its place since the daemon started, or since the hook has a chain.
    pub swaps: ChainSwaps,
}

/// A member of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFigures {
    /// Our link.
    pub link: LinkId,
    /// The member loaded alone.
    pub program: Arc<ProgramRecord>,
    /// Its verdicts do not count.
    pub shadow: bool,
    /// None where counters are off.
    pub counters: Option<LinkCounters>,
    /// None where time is not sampled.
    pub time: Option<MemberTime>,
}

/// A map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFigures {
    /// The kernel's id.
    pub id: MapId,
    /// Name in the object.
    pub name: String,
    /// What the kernel says of it, a minute old at most.
    pub facts: Arc<MapFacts>,
    /// Whose programs use it.
    pub owners: BTreeSet<Owner>,
    /// Programs of ours that use it.
    pub programs: Vec<ProgramId>,
}

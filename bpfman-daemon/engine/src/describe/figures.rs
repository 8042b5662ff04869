//! Metrics of programs, chains and maps: cumulative values, from which readers compute rates.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use bpfman_model::{HookKey, LinkId, MapFacts, MapId, Owner, ProgramFacts, ProgramId, RunCounts};

use crate::chain::{LinkCounters, MemberTime};
use crate::engine::swap_counts::ChainSwaps;
use crate::state::records::{LinkRecord, ProgramRecord};

/// One reading.
#[derive(Clone, Debug)]
pub struct Figures {
    pub at: Instant,
    /// Loaded programs by id: managed ones, and third-party ones on request. Programs of chains are not included.
    pub programs: Vec<ProgramFigures>,
    /// The daemon's chains by hook. Hooks with tcx links have none: the kernel runs their programs one by one.
    pub chains: Vec<ChainFigures>,
    /// Maps of managed programs, by id.
    pub maps: Vec<MapFigures>,
}

/// Metrics of a program.
#[derive(Clone, Debug)]
pub struct ProgramFigures {
    pub id: ProgramId,
    /// Record; `None` for third-party programs.
    pub record: Option<Arc<ProgramRecord>>,
    pub facts: Arc<ProgramFacts>,
    /// Runs of the program by itself, counted while the kernel's run statistics were enabled.
    pub counts: RunCounts,
    /// Time as a member of chains, in nanoseconds; of chains with several programs, only if timed.
    pub in_chains: u64,
    pub places: ProgramPlaces,
}

/// Attach points of a program. Their texts are formatted on request: most readings equal the previous one.
#[derive(Clone, Debug, Default)]
pub struct ProgramPlaces(Vec<Arc<LinkRecord>>);

impl ProgramPlaces {
    pub(super) fn add(&mut self, link: &Arc<LinkRecord>) {
        self.0.push(Arc::clone(link));
    }

    /// Returns the number of attach points.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns hooks as commands name them, and descriptions of other attach points.
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
    /// Returns whether two readings differ only in counters. Records are immutable: a change replaces them.
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

/// Metrics of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFigures {
    pub key: HookKey,
    /// Hook, as commands name it.
    pub hook: String,
    /// Mechanism: "xdp", "tcx" or "clsact".
    pub mode: &'static str,
    /// Strategy, as in [`crate::ChainDetails`].
    pub strategy: &'static str,
    /// Entry program, which other hooks may run, too.
    pub entry: ProgramId,
    /// Runs of that program over all its hooks, while run statistics were enabled. `None` if it is gone.
    pub counts: Option<RunCounts>,
    /// True if the chain counts packets by member.
    pub counters: bool,
    /// True if the chain times its members.
    pub timing: bool,
    /// Members in execution order.
    pub members: Vec<MemberFigures>,
    /// Number of packets for which every member proceeded; 0 if counters are off.
    pub all_proceeded: u64,
    /// Number of packets lost by a failed tail call.
    pub failed: u64,
    /// Swaps of the chain since the daemon started, or since the hook has a chain.
    pub swaps: ChainSwaps,
}

/// Metrics of a member of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberFigures {
    pub link: LinkId,
    /// Program of the member, as it was loaded alone.
    pub program: Arc<ProgramRecord>,
    /// True if its verdicts have no effect.
    pub shadow: bool,
    /// Counters; `None` if counters are off.
    pub counters: Option<LinkCounters>,
    /// Sampled time; `None` if timing is off.
    pub time: Option<MemberTime>,
}

/// Metrics of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFigures {
    pub id: MapId,
    pub name: String,
    /// Facts of the kernel, at most a minute old.
    pub facts: Arc<MapFacts>,
    /// Owners of the programs that use it.
    pub owners: BTreeSet<Owner>,
    /// Managed programs that use it.
    pub programs: Vec<ProgramId>,
}

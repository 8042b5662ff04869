//! What the store keeps of the programs that a hook runs.

use std::collections::BTreeMap;
use std::fmt;

use bpfmand_core::{Deadline, LinkId, MapId, Owner, ProgramId, ProgramUid};
use bpfmand_splice::{Attempt, Way};
use serde::{Deserialize, Serialize};

/// Names what was loaded for a chain: a number that no id of ours ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// sha256 over all that the bytes of a chain depend on, as hexadecimal digits.
///
/// Two hooks whose chains have the same one run the same loaded programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Composition(pub String);

/// What was loaded for a chain. Every hook that runs it has a copy in its record: the copies count its users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Which, and the folder of its pins.
    pub id: ChainId,
    /// What it was made of.
    pub composition: Composition,
    /// The boot that the ids are of.
    pub boot: String,
    /// The programs; the first is the entry.
    pub segments: Vec<SegmentRecord>,
    /// The arrays of one slot that lead from one program to the next, in the order of the plan.
    pub arrays: Vec<MapId>,
    /// The map that its exits count in.
    pub counters: Option<MapId>,
    /// The copy that takes the time of members, where that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinRecord>,
    /// How each member is carried, in order.
    pub members: Vec<CarriedRecord>,
    /// Version of the daemon that joined it.
    pub made_by: String,
    /// Plans that the verifier refused before this one.
    pub fallbacks: u32,
    /// How far the plan is from the cheapest.
    pub attempt: Attempt,
    /// Every member is a function.
    pub as_subprograms: bool,
    /// Members' read-only data is folded into them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub specialised: bool,
    /// Why it was made as it is, for people.
    pub reason: String,
}

/// The timed twin of a chain, which one packet in 1,024 goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinRecord {
    /// The map that counts packets, to pick every 1,024th.
    pub ticks: MapId,
    /// Which packet of 1,024 that is, from 0.
    #[serde(default)]
    pub phase: u16,
    /// The map of times.
    pub times: MapId,
    /// Its programs, one for each of the chain's.
    pub programs: Vec<TwinProgramRecord>,
}

/// One program of a timed twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinProgramRecord {
    /// The kernel's id.
    pub program: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
}

/// One program of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// The kernel's id.
    pub program: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
    /// Its first member, counted from 0.
    pub first: u32,
    /// How many members it runs.
    pub members: u32,
    /// Instructions that the verifier walked through.
    pub verified_insns: u32,
    /// Why a new program begins here; empty for the first.
    pub reason: String,
}

/// How a member of a chain is carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRecord {
    /// Which program.
    pub program: ProgramUid,
    /// How.
    pub way: Way,
    /// Why so; empty where it is inlined.
    pub reason: String,
    /// It is a shadow: in its cells are the verdicts that did not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The kernel's id of the program, where it runs as it was loaded. Another version of it can have the same bytecode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<ProgramId>,
}

/// Packets of one member that were counted in programs which the hook no longer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets that reached the member.
    pub runs: u64,
    /// Packets whose way ended with it, by the column of the verdict.
    pub ended: BTreeMap<u8, u64>,
    /// Packets by the column of the verdict that did not count, while the member was a shadow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shadowed: BTreeMap<u8, u64>,
}

/// Packets of a hook that were counted in programs which it no longer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCounted {
    /// Of each member that is still there.
    pub links: BTreeMap<LinkId, Counted>,
    /// Packets for which every member proceeded.
    pub all_proceeded: u64,
    /// Packets that a tail call lost.
    pub failed: u64,
}

/// A chain that the hook no longer runs, whose counts are not in the record yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folding {
    /// The chain.
    pub chain: ChainRecord,
    /// Whose each of its members was.
    pub slots: Vec<LinkId>,
}

/// A freeze of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Caller who froze it, for people: "user 0".
    pub by: String,
    /// Its owner; none in records from before freezes had owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Time of its end; none in records from before freezes ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
}

impl Hold {
    /// Returns the owner, also where the record is from before freezes had owners.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let user = || self.by.strip_prefix("user ")?.parse().ok();
        self.owner.clone().or_else(|| user().map(Owner::of_user)).unwrap_or_default()
    }
}

/// Switches of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSettings {
    /// Count verdicts; none: by the configuration.
    pub counters: Option<bool>,
    /// Owner that set `counters`; none if they are not set, and in records from before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters_by: Option<Owner>,
    /// Freeze: the chain is not changed.
    pub held: Option<Hold>,
    /// Every member is a function of its own, so that tracing tools see members.
    pub as_subprograms: bool,
    /// A program that passes everything stays when the last member leaves.
    pub keep_attached: bool,
    /// Sample the time that members take.
    pub timing: bool,
    /// Owner that switched timing on; none if it is off, and in records from before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing_by: Option<Owner>,
}

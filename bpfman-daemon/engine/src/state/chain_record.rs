//! Records of the programs that a hook runs.

use std::collections::BTreeMap;
use std::fmt;

use bpfmand_core::{Deadline, LinkId, MapId, Owner, ProgramId, ProgramUid};
use bpfmand_splice::{Attempt, JoinMode};
use serde::{Deserialize, Serialize};

/// Id of what was loaded for a chain: a number that is never used for any other id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Hash (SHA-256, in hexadecimal digits) of all inputs from which the bytecode of a chain is built.
///
/// Two hooks whose chains have the same composition run the same loaded programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Composition(pub String);

/// Kernel objects of a chain. Every hook that runs it has a copy in its record, so copies count the users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Id, which also names the folder of its pins.
    pub id: ChainId,
    pub composition: Composition,
    pub boot: String,
    /// Programs; the first is the entry.
    pub segments: Vec<SegmentRecord>,
    /// Arrays of one slot that connect each program to the next, in the order of the plan.
    pub arrays: Vec<MapId>,
    /// Map in which its exits are counted.
    pub counters: Option<MapId>,
    /// Copy that measures the time of members, where timing is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinRecord>,
    /// Way in which each member is included, in order.
    pub members: Vec<CarriedRecord>,
    pub made_by: String,
    /// Number of plans that the verifier refused before this one.
    pub fallbacks: u32,
    /// Distance of the plan from the cheapest one.
    pub attempt: Attempt,
    pub as_subprograms: bool,
    /// True if the members' read-only data is folded into the instructions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub specialised: bool,
    /// Reason for the plan, in text for users.
    pub reason: String,
}

/// Timed twin of a chain, which one packet in 1,024 goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinRecord {
    /// Map that counts packets, to select every 1,024th.
    pub ticks: MapId,
    /// Index of the selected packet among 1,024, from 0.
    #[serde(default)]
    pub phase: u16,
    pub times: MapId,
    /// Programs, one for each program of the chain.
    pub programs: Vec<TwinProgramRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinProgramRecord {
    pub program: ProgramId,
    pub tag: [u8; 8],
}

/// One program (segment) of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// Kernel id.
    pub program: ProgramId,
    /// Kernel tag.
    pub tag: [u8; 8],
    /// Index of its first member, from 0.
    pub first: u32,
    /// Number of members that it runs.
    pub members: u32,
    /// Number of instructions that the verifier processed.
    pub verified_insns: u32,
    /// Reason why the chain is cut before this program; empty for the first.
    pub reason: String,
}

/// Inclusion of a member in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRecord {
    pub program: ProgramUid,
    pub way: JoinMode,
    /// Reason for the way; empty if the member is inlined.
    pub reason: String,
    /// True for a shadow member: its counters hold verdicts that had no effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Kernel id of the program, if it runs as it was loaded: another version can have the same bytecode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<ProgramId>,
}

/// Packets of one member, counted in programs that the hook no longer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Number of packets that reached the member.
    pub runs: u64,
    /// Number of packets whose chain ended at this member, by the column of the verdict.
    pub ended: BTreeMap<u8, u64>,
    /// Number of packets by the column of the verdict that had no effect, while the member was a shadow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shadowed: BTreeMap<u8, u64>,
}

/// Packets of a hook, counted in programs that it no longer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCounted {
    /// Counts of each member that is still part of the chain.
    pub links: BTreeMap<LinkId, Counted>,
    /// Number of packets for which every member proceeded.
    pub all_proceeded: u64,
    /// Number of packets that were lost by a failed tail call.
    pub failed: u64,
}

/// Chain that the hook no longer runs and whose counts are not in the record yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folding {
    pub chain: ChainRecord,
    /// Link of each of its members, in order.
    pub slots: Vec<LinkId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Caller who froze the hook, in text for users: "user 0".
    pub by: String,
    /// Owner of the freeze; `None` in records from before freezes had owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Time at which the freeze ends; `None` in records from before freezes ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
}

impl Hold {
    /// Returns the owner, also for records from before freezes had owners.
    #[must_use]
    pub fn owner(&self) -> Owner {
        let user = || self.by.strip_prefix("user ")?.parse().ok();
        self.owner.clone().or_else(|| user().map(Owner::of_user)).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSettings {
    /// Setting of verdict counters; `None`: as configured.
    pub counters: Option<bool>,
    /// Owner that set `counters`; `None` if they are not set, and in records from before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters_by: Option<Owner>,
    /// Freeze, during which the chain is not changed.
    pub held: Option<Hold>,
    /// True if every member is a function of its own, which makes members visible to tracing tools.
    pub as_subprograms: bool,
    /// True if a program that passes all packets stays attached when the last member leaves.
    pub keep_attached: bool,
    pub timing: bool,
    /// Owner that enabled timing; `None` if it is off, and in records from before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing_by: Option<Owner>,
}

//! Records of the programs that a hook runs.

use std::collections::BTreeMap;
use std::fmt;

use bpfman_model::{Deadline, LinkId, MapId, Optimisation, Owner, ProgramId, ProgramUid};
use bpfmand_splice::{Attempt, JoinMode};
use serde::{Deserialize, Serialize};

/// Id of a loaded chain: a number that no other id ever uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// SHA-256 (hexadecimal) of all inputs of a chain's bytecode: hooks with equal compositions run the same programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Composition(pub String);

/// Kernel objects of a chain. The record of every hook that runs it has a copy: copies count the users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainRecord {
    /// Id, which also names the folder of its pins.
    pub id: ChainId,
    pub composition: Composition,
    pub boot: String,
    pub segments: Vec<SegmentRecord>,
    /// Arrays of one slot that connect each program to the next, in the order of the plan.
    pub arrays: Vec<MapId>,
    pub counters: Option<MapId>,
    /// Copy that measures the time of members, where timing is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<TwinRecord>,
    pub members: Vec<CarriedRecord>,
    pub made_by: String,
    pub fallbacks: u32,
    pub attempt: Attempt,
    pub as_subprograms: bool,
    /// True if read-only data is folded into members.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub specialised: bool,
    #[serde(default, skip_serializing_if = "Savings::are_none")]
    pub savings: Savings,
    /// True if programs with members of tenants were loaded with `CAP_PERFMON`: they have no barriers against speculative reads.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_perfmon: bool,
    /// Reason for the plan, in text for users.
    pub reason: String,
}

impl ChainRecord {
    /// Returns the level at which the chain was built.
    #[must_use]
    pub const fn optimisation(&self) -> Optimisation {
        match (self.savings.shared > 0, self.specialised) {
            (true, _) => Optimisation::Share,
            (false, true) => Optimisation::Fold,
            (false, false) => Optimisation::None,
        }
    }
}

/// Instructions that a chain does not have, or does not run, since its members are optimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Savings {
    /// Instructions that read-only data decides.
    pub folded: u32,
    /// Header tests and addresses that members reuse from earlier members.
    pub shared: u32,
}

impl Savings {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Timed twin of a chain, which one packet in 1,024 goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwinRecord {
    pub ticks: MapId,
    #[serde(default)]
    pub phase: u16,
    pub times: MapId,
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
    pub program: ProgramId,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRecord {
    pub program: ProgramUid,
    pub way: JoinMode,
    pub reason: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Kernel id of the program, if it runs as it was loaded: another version can have the same bytecode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<ProgramId>,
}

/// Packets of one member, counted in programs that the hook no longer runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub runs: u64,
    /// Packets whose chain ended at this member, by the column of the verdict.
    pub ended: BTreeMap<u8, u64>,
    /// Packets by the column of the verdict that had no effect, while the member was a shadow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shadowed: BTreeMap<u8, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCounted {
    pub links: BTreeMap<LinkId, Counted>,
    pub all_proceeded: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folding {
    pub chain: ChainRecord,
    pub slots: Vec<LinkId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub by: String,
    /// Owner of the freeze; `None` in records from before freezes had owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Time at which the freeze ends; `None` in records from before freezes ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Deadline>,
}

impl Hold {
    #[must_use]
    pub fn owner(&self) -> Owner {
        let user = || self.by.strip_prefix("user ")?.parse().ok();
        self.owner.clone().or_else(|| user().map(Owner::of_user)).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSettings {
    pub counters: Option<bool>,
    /// Owner who set the switch of counters; `None` also in records that are older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters_by: Option<Owner>,
    pub held: Option<Hold>,
    pub as_subprograms: bool,
    /// Highest level of optimisation for the chain. The default is not stored.
    #[serde(default, skip_serializing_if = "Optimisation::is_default")]
    pub optimisation: Optimisation,
    pub keep_attached: bool,
    pub timing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing_by: Option<Owner>,
}

use std::fmt::{self, Write as _};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chain::join_mode::{JoinMode, MemberPlan};

/// Structure of a hook's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainStrategy {
    /// The hook runs the only member directly: nothing to compile.
    Direct,
    /// All members are in one program, or behind calls and tail calls from it that return to it.
    Splice,
    /// Several spliced programs, each leading into the next by a tail call.
    Cut,
}

/// Fallback level after a refusal of the verifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Attempt {
    /// The cheapest chain that the rules allow.
    #[default]
    #[serde(rename = "first")]
    First,
    /// Every member behind a call.
    #[serde(rename = "functions")]
    AllFunctions,
    /// Every member in a program of its own, each leading into the next.
    #[serde(rename = "cut")]
    CutEach,
    /// Every member as its separately loaded program, tail-called one by one.
    #[serde(rename = "own")]
    AllStandalone,
}

impl Attempt {
    /// Returns the attempt to make after this one was refused.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::First => Some(Self::AllFunctions),
            Self::AllFunctions => Some(Self::CutEach),
            Self::CutEach => Some(Self::AllStandalone),
            Self::AllStandalone => None,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "the cheapest chain",
            Self::AllFunctions => "the verifier refused the inlined chain",
            Self::CutEach => "the verifier refused the chain as one program",
            Self::AllStandalone => "the verifier refused every joined program",
        })
    }
}

/// Reason why a new program begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// GPL-compatible members and others need different licences.
    Licence,
    /// The verifier would process too many instructions.
    VerifierWork {
        /// Sum over the members alone.
        insns: u64,
        /// Limit in the options of the chain.
        limit: u64,
    },
    /// More maps than a program may use.
    Maps { maps: usize },
    /// More instructions than a program may have.
    Insns { insns: usize },
    /// More stack than a program may use, even with members behind calls.
    Stack,
    /// More type information than a program may carry.
    TypeInformation,
    /// A program can use only one arena.
    Arenas,
    /// The next member writes packets directly: the kernel would copy shared packets for the readers too.
    Writer,
    /// The verifier refused the chain as one program.
    Fallback(Attempt),
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Licence => f.write_str("GPL-compatible programs and others are not put into one"),
            Self::VerifierWork { insns, limit } => write!(
                f,
                "the verifier would process about {insns} instructions, more than {limit} for one program"
            ),
            Self::Maps { maps } => write!(f, "together they use {maps} maps, {} are allowed", crate::MAX_MAPS),
            Self::Insns { insns } => {
                write!(f, "together they have {insns} instructions, {} are allowed", crate::MAX_INSNS)
            }
            Self::Stack => f.write_str("together they need more than 512 bytes of stack"),
            Self::TypeInformation => f.write_str("together they carry too much type information (BTF)"),
            Self::Arenas => f.write_str("they use different arenas, and a program has one"),
            Self::Writer => f.write_str(
                "it writes packets directly, and those before it do not: shared packets are copied only for it",
            ),
            Self::Fallback(attempt) => write!(f, "fallback: {attempt}"),
        }
    }
}

/// One program of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPlan {
    pub members: Range<usize>,
    /// Reason why it is not part of the program before; none for the first.
    pub reason: Option<CutReason>,
    /// True if it begins earlier than necessary, at the first member of another owner.
    pub at_owner: bool,
}

/// Content of the only slot of a program array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArrayUse {
    /// The chain's program with this index, from 1, reached from the previous one.
    Segment(usize),
    /// The separately loaded program of the member with this index.
    Member(usize),
    /// The timed twin of the chain's program with this index; that of 0 is reached by every 1,024th packet.
    Twin(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainPlan {
    pub strategy: ChainStrategy,
    /// Plans of the members that can run, up to an empty proceed-on set.
    pub members: Vec<MemberPlan>,
    /// Number of members that never run.
    pub unreached: usize,
    /// Programs to load, in the order in which packets meet them; none for [`ChainStrategy::Direct`].
    pub segments: Vec<SegmentPlan>,
    /// One-slot program arrays, pinned while the chain runs: the kernel empties arrays without user references.
    pub arrays: Vec<ArrayUse>,
    /// True if all programs of the chain handle packets in several buffers.
    pub frags: bool,
    /// True if all programs of the chain must be bound to the interface's device (`BPF_F_XDP_DEV_BOUND_ONLY`).
    pub device_bound: bool,
    /// True if there is a timed twin ([`crate::Bindings::timing`] is needed).
    pub timed: bool,
    /// Fallback level of this plan.
    pub attempt: Attempt,
}

impl ChainPlan {
    /// Returns the reasons for the plan, one line per special member or program.
    #[must_use]
    pub fn reason(&self) -> String {
        let count = self.members.len();
        let mut text = match self.strategy {
            ChainStrategy::Direct => {
                "direct: the only member's proceed-on set cannot change its verdict".to_owned()
            }
            ChainStrategy::Splice if count == 1 => {
                "splice: one member, with a check of its verdict".to_owned()
            }
            ChainStrategy::Splice => format!("splice: {count} members in one program"),
            ChainStrategy::Cut => format!("cut: {count} members in {} programs", self.segments.len()),
        };
        if self.attempt != Attempt::First {
            let _ = write!(text, " (fallback: {})", self.attempt);
        }
        for (number, segment) in self.segments.iter().enumerate() {
            if let Some(reason) = &segment.reason {
                let owner = if segment.at_owner { ", cut where the owner changes" } else { "" };
                let first = segment.members.start + 1;
                let _ = write!(text, "\nprogram {} begins at member {first}: {reason}{owner}", number + 1);
            }
        }
        for (index, member) in self.members.iter().enumerate() {
            let how = match member.way {
                JoinMode::Inline => continue,
                JoinMode::Function => "runs behind a call",
                JoinMode::Standalone => "runs as its own program",
            };
            let _ = write!(text, "\nmember {} {how}", index + 1);
            if let Some(reason) = &member.reason {
                let _ = write!(text, ": {reason}");
            }
        }
        if self.unreached > 0 {
            let _ = write!(
                text,
                "\nthe last {} never run: member {count} ends the chain with every verdict",
                self.unreached
            );
        }
        text
    }
}

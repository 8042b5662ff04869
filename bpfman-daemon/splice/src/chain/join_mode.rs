use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chain::plan::Attempt;

/// Way in which a member runs in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinMode {
    /// Its entry function is part of the common one.
    Inline,
    /// Its entry function is behind a call: about 9 ns where returns are mitigated.
    Function,
    /// A separate program, behind a function that tail-calls it.
    #[serde(rename = "own")]
    Standalone,
}

impl JoinMode {
    /// Returns "inline", "function" or "own".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Function => "function",
            Self::Standalone => "own",
        }
    }
}

/// Reason why a member is not inlined. Positions are instruction indexes in the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotInlinedReason {
    /// `bpf_tail_call` in the entry function would end the chain silently.
    TailCall { at: usize },
    /// A failing `LD_ABS` or `LD_IND` in the entry function would end the chain with verdict 0.
    OldPacketLoad { at: usize },
    /// `may_goto` in the entry function: members would share one loop budget per frame.
    SharedLoopBudget {
        /// Position of the `may_goto`.
        at: usize,
    },
    /// One of its functions may end by a tail call or a failing `LD_ABS`. Verifiers of Linux 6.1 and 6.12 overlook such
    /// tail calls, and would delete the check of the member's verdict.
    HiddenExit { at: usize },
    /// `bpf_throw` unwinds everything up to the program's entry.
    Throws { at: usize },
    /// It has an exception callback, which no instruction calls: a program has only one for all members.
    CatchesExceptions { at: usize },
    /// A timer or work queue, once started, would run a replaced chain's code and keep all of it loaded.
    DeferredWork { at: usize },
    /// Its maps or instructions are tied to its own type information (local kptrs, lists, trees).
    NeedsOwnBtf,
    /// It refers to a kernel module's function or variable, which needs a descriptor of its own load.
    UnboundReference { at: usize },
    /// It jumps by a table of positions in its own text.
    IndirectJump { at: usize },
    /// The kernel counts more stack than its instructions show, so it must not share a frame.
    UnclearStack {
        function: String,
        /// Bytes by the kernel's count.
        kernel: u32,
        /// Bytes by the instructions.
        computed: u32,
    },
    /// Its frame and the calls of another member together exceed the stack.
    DeepStack {
        /// Size of its frame, in bytes.
        frame: u32,
    },
    /// Its calls nest eight functions deep already: it cannot be behind another call.
    DeepCalls,
    /// The program would be too long for jumps of 16 bits, and the kernel has no longer ones.
    TooLong {
        /// Number of instructions of its entry function.
        insns: usize,
    },
    /// It does not fit a spliced program, not even as its only member.
    LeavesNoRoom,
    /// Isolation was requested.
    Isolated,
    /// The hook is compiled so that tracing tools see each member.
    AsSubprograms,
    /// The verifier refused a cheaper chain, although each member passes alone.
    Fallback(Attempt),
}

impl fmt::Display for NotInlinedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TailCall { at } => {
                write!(f, "it tail-calls (instruction {at}), which would end the chain")
            }
            Self::OldPacketLoad { at } => {
                write!(
                    f,
                    "it loads by LD_ABS or LD_IND (instruction {at}), which ends a program when it fails"
                )
            }
            Self::SharedLoopBudget { at } => {
                write!(f, "its may_goto (instruction {at}) would share a loop budget with other members")
            }
            Self::HiddenExit { at } => write!(
                f,
                "one of its functions may end by a tail call or LD_ABS (instruction {at}), which verifiers overlook"
            ),
            Self::Throws { at } => {
                write!(f, "it throws exceptions (instruction {at}), which would end the whole chain")
            }
            Self::CatchesExceptions { at } => {
                write!(
                    f,
                    "it has an exception callback (instruction {at}), and a program has one for all its members"
                )
            }
            Self::DeferredWork { at } => write!(
                f,
                "it starts timers, work queues or task work (instruction {at}), which would keep replaced chains alive"
            ),
            Self::NeedsOwnBtf => {
                f.write_str("its maps or instructions are tied to its own type information (BTF)")
            }
            Self::UnboundReference { at } => {
                write!(f, "it refers to a kernel module, or to a map by its place (instruction {at})")
            }
            Self::IndirectJump { at } => {
                write!(f, "it jumps by a table of its own positions (instruction {at})")
            }
            Self::UnclearStack { function, kernel, computed } => write!(
                f,
                "its function {function} takes {kernel} bytes of stack by the kernel's count, {computed} by its instructions"
            ),
            Self::DeepStack { frame } => {
                write!(f, "its frame of {frame} bytes does not fit together with the calls of others")
            }
            Self::DeepCalls => {
                f.write_str("it has to be behind a call, but calls eight functions deep already")
            }
            Self::TooLong { insns } => {
                write!(f, "its {insns} instructions would put jumps out of reach on this kernel")
            }
            Self::LeavesNoRoom => f.write_str("it leaves no room for anything else in a program"),
            Self::Isolated => f.write_str("it is to run isolated"),
            Self::AsSubprograms => f.write_str("tracing tools are to see each member of this hook"),
            Self::Fallback(attempt) => write!(f, "fallback: {attempt}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// Way in which the member runs.
    pub way: JoinMode,
    /// Reason why it is not inlined; none if it is.
    pub reason: Option<NotInlinedReason>,
}

impl MemberPlan {
    /// Plan of an inlined member.
    pub const INLINE: Self = Self { way: JoinMode::Inline, reason: None };
}

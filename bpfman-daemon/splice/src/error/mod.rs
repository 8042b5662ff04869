pub(crate) mod limits;
pub(crate) mod refusal;

use std::fmt;

use crate::error::refusal::Refusal;

/// Name of a member in messages: its position in the chain, its label and its entry function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberName {
    /// Position in the chain, from 1.
    pub position: usize,
    /// Label from the caller: file or image.
    pub label: Box<str>,
    pub function: Box<str>,
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} ({}:{})", self.position, self.label, self.function)
    }
}

/// Error of joining members.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    #[error("a chain needs at least one member")]
    NoMembers,
    #[error("a chain of {given} members is too long: the limit is {}", crate::MAX_MEMBERS)]
    TooManyMembers { given: usize },
    /// The kernel accepts names of at most 15 letters, digits, dots and underscores.
    #[error("{name:?} cannot be the name of a program: 1 to 15 letters, digits, dots and underscores")]
    BadName { name: String },
    /// One member cannot be part of any splice, or not at this position.
    #[error("{member} cannot be joined with others: {reason}")]
    Refused { member: MemberName, reason: Refusal },
    #[error("{with} handles packets in several buffers (xdp.frags), {without} does not")]
    FragsDisagree { with: MemberName, without: MemberName },
    #[error("the joined program has {insns} instructions: the limit is {}", crate::MAX_INSNS)]
    TooManyInsns { insns: usize },
    /// An instruction listed as holding a local type id holds something else.
    #[error(
        "instruction {insn} of the joined program is said to hold the id of a type, and refers to something else"
    )]
    NoTypeId { insn: usize },
    /// A member fits into no program, not even into a separate one behind a tail call.
    #[error("{member} fits no chain")]
    DoesNotFit { member: MemberName },
    /// A tenant's member may send no copies, so it cannot run as the unchanged loaded program.
    #[error(
        "{member} sends copies of packets (bpf_clone_redirect) past the machine's programs, and runs only as it was loaded: {reason}"
    )]
    OnlyAsLoaded {
        member: MemberName,
        /// Reason why it is a program of its own.
        reason: String,
    },
    /// Program arrays accept no programs that are bound to a device.
    #[error(
        "{member} is bound to its device, so the whole chain is, and such a chain cannot tail-call: {plan}"
    )]
    DeviceBound { member: MemberName, plan: String },
    #[error("the chain needs {needed} tail calls a packet, the kernel allows {}", crate::MAX_TAIL_CALLS)]
    TooManyTailCalls {
        /// Number of cuts and of members in programs of their own.
        needed: usize,
    },
    /// Two members share one budget of tail calls, and the number that each uses is unknown.
    #[error(
        "{first} and {second} both tail-call other programs: the first could use up the second's tail calls"
    )]
    TwoTailCallers { first: MemberName, second: MemberName },
    /// A member that tail-calls runs before a member that the chain itself reaches by a tail call.
    #[error(
        "{member} tail-calls other programs, and could use up the tail call that leads to {later}, which needs one because {reason}"
    )]
    TailCallerTooEarly {
        member: MemberName,
        /// The member behind it that is reached by a tail call.
        later: MemberName,
        reason: String,
    },
    /// The chain needs program arrays, and none can be given.
    #[error("the chain needs tail calls: {plan}")]
    NeedsArrays { plan: String },
    /// A jump is longer than 16 bits allow and the kernel has no longer ones.
    #[error("{member} is too long: its end is more than 32,767 instructions away from one of its exits")]
    JumpTooFar {
        /// The member that the jump belongs to.
        member: MemberName,
    },
    #[error("the chain was planned with other maps than it is compiled with: {what}")]
    Bindings { what: &'static str },
    /// The type information of all members exceeds the kernel's limits.
    #[error(
        "the members' type information (BTF) together exceeds the kernel's limit: {types} types, {strings} bytes of strings"
    )]
    BtfTooLarge { types: usize, strings: usize },
}

impl SpliceError {
    /// Returns a remedy, in one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoMembers => "attach a program",
            Self::TooManyMembers { .. } => "detach a program first",
            Self::BadName { .. } => "choose a shorter name",
            Self::FragsDisagree { .. } => {
                "build all programs of the hook with SEC(\"xdp.frags\"), or none of them"
            }
            Self::TooManyInsns { .. } | Self::BtfTooLarge { .. } | Self::DoesNotFit { .. } => {
                "detach a program, or move one to another hook"
            }
            Self::OnlyAsLoaded { .. } => {
                "leave out bpf_clone_redirect, or the call or option that keeps it a program of its own"
            }
            Self::DeviceBound { .. } => "put the programs that cannot share a program on another hook",
            Self::TooManyTailCalls { .. } => "detach a program, or join what is marked isolated",
            Self::TwoTailCallers { .. } => {
                "keep one program that tail-calls on the hook, and attach the other elsewhere (TCX: by its own link)"
            }
            Self::TailCallerTooEarly { .. } => {
                "give the program that tail-calls a larger priority, so that it runs after the others"
            }
            Self::NeedsArrays { .. } => "report this: chains with tail calls have to be planned first",
            Self::JumpTooFar { .. } => "use a newer kernel, or move code of the program into functions",
            Self::Bindings { .. } => "report this: the daemon contradicts itself",
            Self::NoTypeId { .. } => "detach the program whose object file was tampered with",
            Self::Refused { reason, .. } => reason.hint(),
        }
    }
}

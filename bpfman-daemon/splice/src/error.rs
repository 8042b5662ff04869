//! Why members cannot be joined, and what the one who asked can do.

use std::fmt;

/// A member in messages: its place in the chain, counted from 1, its label and its entry function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberName {
    /// Place in the chain, from 1.
    pub position: usize,
    /// The caller's label: file or image.
    pub label: String,
    /// The entry function.
    pub function: String,
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} ({}:{})", self.position, self.label, self.function)
    }
}

/// Why members cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    /// There is nothing to join.
    #[error("a chain needs at least one member")]
    NoMembers,
    /// More than [`crate::MAX_MEMBERS`].
    #[error("a chain of {given} members is too long: the limit is {}", crate::MAX_MEMBERS)]
    TooManyMembers {
        /// Members asked for.
        given: usize,
    },
    /// The kernel takes names of at most 15 letters, digits, dots and underscores.
    #[error("{name:?} cannot be the name of a program: 1 to 15 letters, digits, dots and underscores")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// One member cannot be part of any splice, or not at this place.
    #[error("{member} cannot be joined with others: {reason}")]
    Refused {
        /// The member.
        member: MemberName,
        /// Why.
        reason: Refusal,
    },
    /// Some members are GPL-compatible, some are not.
    #[error(
        "licences do not mix: {compatible} is GPL-compatible ({compatible_licence:?}), {other} is not ({other_licence:?})"
    )]
    MixedLicences {
        /// A member under a compatible licence.
        compatible: MemberName,
        /// Its licence.
        compatible_licence: String,
        /// A member under another.
        other: MemberName,
        /// Its licence.
        other_licence: String,
    },
    /// Some members handle packets in several buffers, some do not.
    #[error("{with} handles packets in several buffers (xdp.frags), {without} does not")]
    FragsDisagree {
        /// A member that does.
        with: MemberName,
        /// A member that does not.
        without: MemberName,
    },
    /// The members refer to more maps than the kernel allows a program.
    #[error("the members use {maps} different maps: a program may use {}", crate::MAX_MAPS)]
    TooManyMaps {
        /// Different maps.
        maps: usize,
    },
    /// More instructions than the kernel allows a program.
    #[error("the joined program has {insns} instructions: the limit is {}", crate::MAX_INSNS)]
    TooManyInsns {
        /// Instructions of the joined program.
        insns: usize,
    },
    /// The deepest frame and the deepest calls of any member together exceed the kernel's 512 bytes.
    #[error(
        "together the members need {needed} bytes of stack, 512 are allowed: the largest frame, {frame} bytes, is that of {deepest_frame}; the deepest calls, {calls} bytes, are those of {deepest_calls}"
    )]
    StackTooDeep {
        /// Bytes needed, rounded as the kernel does.
        needed: u32,
        /// Bytes of the common frame, with the place of the context.
        frame: u32,
        /// Bytes of the deepest calls.
        calls: u32,
        /// The member with the largest frame.
        deepest_frame: MemberName,
        /// The member with the deepest calls.
        deepest_calls: MemberName,
    },
    /// A frame is full and no callee-saved register is free to keep the context in.
    #[error(
        "{member} uses its whole frame of 512 bytes (or it cannot be told how much), and no register is free in all members to keep the context in"
    )]
    NoPlaceForContext {
        /// The member with the full frame.
        member: MemberName,
    },
    /// A jump is longer than 16 bits allow and the kernel has no longer ones.
    #[error("{member} is too long: its end is more than 32,767 instructions away from one of its exits")]
    JumpTooFar {
        /// The member that the jump belongs to.
        member: MemberName,
    },
    /// The type information of all members exceeds the kernel's limits.
    #[error("the members' type information (BTF) together exceeds the kernel's limit: {types} types, {strings} bytes of strings")]
    BtfTooLarge {
        /// Types of all members.
        types: usize,
        /// Bytes of strings.
        strings: usize,
    },
}

/// Why one member cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The instructions or the description of the program contradict themselves.
    #[error("its program is malformed at instruction {at}: {what}")]
    Malformed {
        /// Instruction index in the member.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The type information cannot be read.
    #[error("its type information (BTF) cannot be read: {what}")]
    BadBtf {
        /// What is wrong.
        what: &'static str,
    },
    /// `bpf_tail_call` would end the chain silently.
    #[error("it tail-calls other programs (instruction {at}), which would end the chain silently")]
    TailCall {
        /// Instruction index in the member.
        at: usize,
    },
    /// A tail call in a subprogram below a frame of 256 bytes or more, which the kernel refuses.
    #[error(
        "its function {function} tail-calls, and the frames above it take {above} bytes: the kernel allows fewer than 256"
    )]
    TailCallBelowLargeFrame {
        /// The function that tail-calls.
        function: String,
        /// Bytes of the frames above it.
        above: u32,
    },
    /// `LD_ABS` or `LD_IND` in the entry function.
    #[error("it loads from the packet by LD_ABS or LD_IND (instruction {at}): a failing load would end the chain with verdict 0")]
    OldPacketLoad {
        /// Instruction index in the member.
        at: usize,
    },
    /// `bpf_throw` unwinds the whole chain.
    #[error("it throws exceptions (bpf_throw, instruction {at}), which would end the whole chain")]
    Throws {
        /// Instruction index in the member.
        at: usize,
    },
    /// `may_goto` in the entry function: the loop budget is one per frame.
    #[error("it uses may_goto in its entry function (instruction {at}): the loop budget would be shared with other members")]
    SharedLoopBudget {
        /// Instruction index in the member.
        at: usize,
    },
    /// Timers and work queues keep running the old generation's code.
    #[error("it starts timers or work queues (instruction {at}): they would keep a replaced chain alive and running")]
    DeferredWork {
        /// Instruction index in the member.
        at: usize,
    },
    /// Type ids in instructions or maps tie the program to its own type information.
    #[error("it refers to types of its own BTF from instructions or maps (bpf_obj_new, lists, trees)")]
    NeedsOwnBtf,
    /// A kernel function or variable of a module needs a descriptor of the load.
    #[error("it refers to a kernel module's function or variable, or to a map by its place (instruction {at})")]
    UnboundReference {
        /// Instruction index in the member.
        at: usize,
    },
    /// Sleepable programs run on no packet hook.
    #[error("it is sleepable: no packet hook runs such programs")]
    Sleepable,
    /// The set contains REDIRECT without the explicit wish.
    #[error("its proceed-on set contains REDIRECT: the chain would go on with a packet that it wanted sent elsewhere")]
    RedirectMayProceed,
    /// The kernel counted more stack than the instructions show.
    #[error("function {function} takes {kernel} bytes of stack by the kernel's count, {computed} by its instructions")]
    StackDepthDisagrees {
        /// The function.
        function: String,
        /// The kernel's count.
        kernel: u32,
        /// Ours.
        computed: u32,
    },
}

impl SpliceError {
    /// What the one who asked can do about it, in one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoMembers => "attach a program",
            Self::TooManyMembers { .. } => "detach a program first",
            Self::BadName { .. } => "choose a shorter name",
            Self::MixedLicences { .. } => "keep programs of the two kinds on different hooks",
            Self::FragsDisagree { .. } => {
                "build all programs of the hook with SEC(\"xdp.frags\"), or none of them"
            }
            Self::TooManyMaps { .. } | Self::TooManyInsns { .. } | Self::BtfTooLarge { .. } => {
                "detach a program, or move one to another hook"
            }
            Self::StackTooDeep { .. } => {
                "use a smaller stack in one of the two (a per-CPU array map holds large buffers)"
            }
            Self::NoPlaceForContext { .. } => {
                "put the program last, or use a smaller stack in it (a per-CPU array map holds large buffers)"
            }
            Self::JumpTooFar { .. } => "use a newer kernel, or move code of the program into functions",
            Self::Refused { reason, .. } => reason.hint(),
        }
    }
}

impl Refusal {
    /// What the one who asked can do about it, in one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::BadBtf { .. } => "compile the program anew",
            Self::TailCall { .. } => "put the program last on a hook of its own, or attach it alone",
            Self::TailCallBelowLargeFrame { .. } => "use smaller stacks in the programs of this hook",
            Self::OldPacketLoad { .. } => "read the packet directly or by bpf_skb_load_bytes",
            Self::Throws { .. } => "return from the program instead of throwing",
            Self::SharedLoopBudget { .. } => "move the loop into a function that is not inlined",
            Self::DeferredWork { .. } | Self::NeedsOwnBtf => "attach the program alone on its hook",
            Self::UnboundReference { .. } => "use functions of the kernel proper only",
            Self::Sleepable => "choose a packet program",
            Self::RedirectMayProceed => "take REDIRECT out of the set, or ask for it explicitly",
            Self::StackDepthDisagrees { .. } => "report this program: the stack analysis does not understand it",
        }
    }
}

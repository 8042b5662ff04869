//! Why members cannot be joined, and what the one who asked can do.

use std::fmt;

use crate::refusal::Refusal;

/// A member in messages: its place in the chain, counted from 1, its label and its entry function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberName {
    /// Place in the chain, from 1.
    pub position: usize,
    /// The caller's label: file or image.
    pub label: Box<str>,
    /// The entry function.
    pub function: Box<str>,
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
        compatible_licence: Box<str>,
        /// A member under another.
        other: MemberName,
        /// Its licence.
        other_licence: Box<str>,
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
    /// The maps given do not match the plan.
    #[error("the chain was planned with other maps than it is compiled with: {what}")]
    Bindings {
        /// Which.
        what: &'static str,
    },
    /// The type information of all members exceeds the kernel's limits.
    #[error(
        "the members' type information (BTF) together exceeds the kernel's limit: {types} types, {strings} bytes of strings"
    )]
    BtfTooLarge {
        /// Types of all members.
        types: usize,
        /// Bytes of strings.
        strings: usize,
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
            Self::Bindings { .. } => "report this: the daemon contradicts itself",
            Self::Refused { reason, .. } => reason.hint(),
        }
    }
}

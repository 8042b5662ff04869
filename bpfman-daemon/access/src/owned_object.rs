//! Existing objects that have an owner.

use std::fmt;

use bpfman_model::{HookKind, Interface, LinkId, MapId, MatchingId, ProgramId};

use crate::ObjectClass;

/// Existing object with an owner. Denials show its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedObject<'a> {
    Program(ProgramId),
    /// Program that bpfman does not manage. It counts as root's.
    UnmanagedProgram(ProgramId),
    Link(LinkId),
    /// An attachment to all matching interfaces.
    Matching(MatchingId),
    /// Program that uses the map of the call. A call on a map needs the right over all programs that use it.
    MapUser(ProgramId),
    /// Maps of a program, all of which the call shares.
    MapsOf(ProgramId),
    /// Objects that entries of a map can lead to.
    ReachableFrom(MapId),
    /// A member of the hook of the call.
    Member(LinkId),
    Freeze(HookKind, &'a Interface),
    /// Programs and links of all owners.
    All,
    /// Object that a session opens, by its kind and the kernel's id.
    ByKernelId(&'a str, u32),
    /// Pins and attachments that a session left, by its name.
    LeftBy(&'a str),
}

impl OwnedObject<'_> {
    /// Returns the class, for which a call's row has a rule.
    #[must_use]
    pub const fn class(self) -> ObjectClass {
        match self {
            Self::Program(_)
            | Self::UnmanagedProgram(_)
            | Self::All
            | Self::ByKernelId(..)
            | Self::LeftBy(_) => ObjectClass::Program,
            Self::Link(_) | Self::Matching(_) => ObjectClass::Link,
            Self::MapUser(_) | Self::MapsOf(_) | Self::ReachableFrom(_) => ObjectClass::Map,
            Self::Member(_) | Self::Freeze(..) => ObjectClass::Hook,
        }
    }
}

impl fmt::Display for OwnedObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(id) | Self::MapUser(id) => write!(f, "program {id}"),
            Self::UnmanagedProgram(id) => write!(f, "program {id}, which bpfman does not manage,"),
            Self::Link(id) => write!(f, "link {id}"),
            Self::Matching(id) => write!(f, "matching {id}"),
            Self::MapsOf(id) => write!(f, "the maps of program {id}"),
            Self::ReachableFrom(id) => {
                write!(f, "all maps and programs, to which entries of map {id} can lead,")
            }
            Self::Member(id) => write!(f, "link {id} at this hook"),
            Self::Freeze(kind, interface) => write!(f, "the freeze of {}", kind.at(interface)),
            Self::All => f.write_str("all programs"),
            Self::ByKernelId(kind, id) => write!(f, "{kind} {id}"),
            Self::LeftBy(session) => write!(f, "what session {session} left,"),
        }
    }
}

//! Things that have an owner, as calls are about them.

use std::fmt;

use bpfmand_core::{HookKind, Interface, LinkId, MapId, MatchingId, ProgramId};

use crate::ObjectClass;

/// A thing that is there already and belongs to somebody. Its text is what denials show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedThing<'a> {
    /// A program.
    Program(ProgramId),
    /// A program that bpfman does not manage. It counts as root's.
    UnmanagedProgram(ProgramId),
    /// An attachment.
    Link(LinkId),
    /// An attachment to all interfaces that match.
    Matching(MatchingId),
    /// A program that uses the map of the call. The right over a map is the right over all its users.
    MapUser(ProgramId),
    /// All maps of a program, which the call shares.
    MapsOf(ProgramId),
    /// Everything that entries of a map can lead to.
    ReachableFrom(MapId),
    /// A member of the hook of the call.
    Member(LinkId),
    /// The freeze of a hook.
    Freeze(HookKind, &'a Interface),
    /// Programs and links of all owners.
    All,
}

impl OwnedThing<'_> {
    /// The class that a call's row has a rule for.
    #[must_use]
    pub const fn class(self) -> ObjectClass {
        match self {
            Self::Program(_) | Self::UnmanagedProgram(_) | Self::All => ObjectClass::Program,
            Self::Link(_) | Self::Matching(_) => ObjectClass::Link,
            Self::MapUser(_) | Self::MapsOf(_) | Self::ReachableFrom(_) => ObjectClass::Map,
            Self::Member(_) | Self::Freeze(..) => ObjectClass::Hook,
        }
    }
}

impl fmt::Display for OwnedThing<'_> {
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
        }
    }
}

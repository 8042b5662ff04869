//! Why values of flags and arguments are refused.

use crate::kernel_type::UnknownType;

/// Why a value is refused. The parser of the command line says which flag or argument it is of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A text without `=`, and the form that it should have.
    #[error("{0:?} has no `=`: write {1}")]
    NoEquals(String, &'static str),
    /// Nothing before the `=`: what should be there, and the whole text.
    #[error("the {0} is missing in {1:?}")]
    NoName(&'static str, String),
    /// A text that is not of the form that goes with how it begins.
    #[error("{0:?} is not {1}")]
    WrongForm(String, String),
    /// A text with nothing between two of its colons, or behind the last one.
    #[error("a part of {0:?} is empty")]
    EmptyPart(String),
    /// A global variable or a map that is named more than once.
    #[error("{0} {1} is named twice: give it one value")]
    Twice(&'static str, String),
    /// A map, and a number of entries that none can have.
    #[error("map {0} cannot have {1:?} entries: write a number from 1 to 4294967295")]
    NotEntries(String, String),
    /// A packet that is no bytes.
    #[error("the packet is not pairs of hexadecimal digits: write two digits a byte, without 0x")]
    NotPacket,
    /// A type that programs cannot be loaded as.
    #[error(transparent)]
    UnknownType(#[from] UnknownType),
    /// A length of time without a number or a unit.
    #[error("`{0}` is not a number followed by s, m, h or d")]
    NotTime(String),
    /// A kernel's link by neither of its names.
    #[error("{0:?} is neither a link id nor the path of a pin: write a number, or a path with a slash")]
    NotLink(String),
    /// An anchor without the name that has to follow its kind.
    #[error("the name after {0} is missing: write {0}NAME")]
    NoAnchorName(&'static str),
    /// No anchor at all.
    #[error("the anchor is empty: write a link id, a function name, role=NAME or foreign:NAME")]
    NoAnchor,
    /// No map.
    #[error("{0:?} is no map: write a map's id (`bpfman map list` shows them), or PROGRAM_ID:NAME")]
    NotMap(String),
    /// Digits that are too large a number.
    #[error("{0} is not a link id: it is larger than 4294967295")]
    NotLinkId(String),
    /// An anchor of an unknown kind.
    #[error("{0:?} is not an anchor: write a link id, a function name, role=NAME or foreign:NAME")]
    NotAnchor(String),
    /// A selector with parentheses that do not match.
    #[error("{0:?} has parentheses that do not match")]
    Parentheses(String),
    /// A part of a selector that says nothing.
    #[error(
        "{0:?} is not a requirement: write KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B) or KEY notin (A,B)"
    )]
    NotRequirement(String),
}

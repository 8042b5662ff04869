//! Errors of flags and arguments.

use crate::kernel_type::UnknownType;

/// Reason why a value is refused. The parser of the command line adds the flag or argument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Text without `=`, and the expected form.
    #[error("{0:?} has no `=`: write {1}")]
    NoEquals(String, &'static str),
    /// Text with nothing before the `=`: the missing part, and the whole text.
    #[error("the {0} is missing in {1:?}")]
    NoName(&'static str, String),
    /// Text that does not have the form of its kind.
    #[error("{0:?} is not {1}")]
    WrongForm(String, String),
    /// Text with an empty part between colons, or after the last one.
    #[error("a part of {0:?} is empty")]
    EmptyPart(String),
    /// Global variable or map that is named more than once.
    #[error("{0} {1} is named twice: give it one value")]
    Twice(&'static str, String),
    /// Map, and an invalid number of entries.
    #[error("map {0} cannot have {1:?} entries: write a number from 1 to 4294967295")]
    NotEntries(String, String),
    /// Packet that is not hexadecimal bytes.
    #[error("the packet is not pairs of hexadecimal digits: write two digits a byte, without 0x")]
    NotPacket,
    /// Type that programs cannot be loaded as.
    #[error(transparent)]
    UnknownType(#[from] UnknownType),
    /// Duration without a number or a unit.
    #[error("`{0}` is not a number followed by s, m, h or d")]
    NotTime(String),
    /// Kernel link by neither an id nor a pin.
    #[error("{0:?} is neither a link id nor the path of a pin: write a number, or a path with a slash")]
    NotLink(String),
    /// Text that is no id: the kind of the object, and the list that has the ids.
    #[error("{0:?} is no {1} id: `bpfman list {2}` shows them")]
    NotId(String, &'static str, &'static str),
    /// Text that is no map.
    #[error("{0:?} is no map: write a map's id (`bpfman map list` shows them), or PROGRAM:NAME")]
    NotMap(String),
    /// Selector with unbalanced parentheses.
    #[error("{0:?} has parentheses that do not match")]
    Parentheses(String),
    /// Part of a selector that is no requirement.
    #[error(
        "{0:?} is not a requirement: write KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B) or KEY notin (A,B)"
    )]
    NotRequirement(String),
}

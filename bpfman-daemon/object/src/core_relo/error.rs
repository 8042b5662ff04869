/// Reason why a CO-RE relocation of the object cannot be applied, whatever the kernel has.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CoreError {
    #[error("CO-RE relocation of unknown kind {0}")]
    UnknownKind(u32),
    #[error("the path {path} in type {root} is impossible: {why}")]
    Path {
        path: String,
        /// Id of the root type in the object.
        root: u32,
        why: &'static str,
    },
    #[error("type {0} does not exist")]
    NoType(u32),
    /// The type has no name to look up in the kernel.
    #[error("type {0} has no name to look for in the kernel")]
    Unnamed(u32),
    /// The relocation needs the size of a type without one.
    #[error("type {0} has no size")]
    NoSize(u32),
    #[error("type {0} has no member {1}")]
    NoMember(u32, u32),
    /// The path does not lead to the requested information.
    #[error("{0}")]
    NoAnswer(&'static str),
    /// The bit field is in an integer of this size in bytes, for which no load exists.
    #[error("a bit field in {0} bytes")]
    BitField(u64),
    #[error("the kernel has several types {0} that differ in what is asked")]
    Ambiguous(String),
    #[error("operation {0:#04x} cannot carry a CO-RE relocation")]
    WrongOperation(u8),
    #[error("the second half of a 64-bit load is missing")]
    HalfLoad,
    #[error("it holds {found} where its CO-RE relocation has {expected}")]
    Differs { found: u64, expected: u64 },
    #[error("{0} does not fit in 32 bits")]
    NumberTooLarge(u64),
    /// The byte offset does not fit into a memory access.
    #[error("offset {0} does not fit in 15 bits")]
    OffsetTooLarge(u64),
    /// The field has this size in bytes, for which no memory access exists.
    #[error("no memory access is {0} bytes wide")]
    AccessWidth(u64),
    /// Error with its location.
    #[error("{place}: {source}")]
    At {
        /// Type and field or enumerator.
        place: String,
        source: Box<Self>,
    },
}

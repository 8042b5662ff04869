//! Why a CO-RE relocation cannot be applied, whatever the kernel has.

/// Why a CO-RE relocation of the object cannot be applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CoreError {
    /// A kind that this version does not know.
    #[error("CO-RE relocation of unknown kind {0}")]
    UnknownKind(u32),
    /// A path that does not lead through the type it starts from.
    #[error("the path {path} in type {root} is impossible: {why}")]
    Path {
        /// The compiler's numbers, for example `0:1:2`.
        path: String,
        /// Id of the object's type where it starts.
        root: u32,
        /// Where it fails.
        why: &'static str,
    },
    /// A type id of the object that is none.
    #[error("type {0} does not exist")]
    NoType(u32),
    /// A type that cannot be looked for in the kernel.
    #[error("type {0} has no name to look for in the kernel")]
    Unnamed(u32),
    /// A type without a size, and the size is asked.
    #[error("type {0} has no size")]
    NoSize(u32),
    /// A type without the member of that index.
    #[error("type {0} has no member {1}")]
    NoMember(u32, u32),
    /// The path does not lead to what is asked for.
    #[error("{0}")]
    NoAnswer(&'static str),
    /// A bit field in an integer of so many bytes, which no load has.
    #[error("a bit field in {0} bytes")]
    BitField(u64),
    /// Types of one name that give different answers.
    #[error("the kernel has several types {0} that differ in what is asked")]
    Ambiguous(String),
    /// An instruction that holds no such number, by its operation.
    #[error("operation {0:#04x} cannot carry a CO-RE relocation")]
    WrongOperation(u8),
    /// The function ends in the middle of the instruction.
    #[error("the second half of a 64-bit load is missing")]
    HalfLoad,
    /// The instruction does not hold what the compiler says that it wrote.
    #[error("it holds {found} where its CO-RE relocation says {expected}")]
    Differs {
        /// What it holds.
        found: u64,
        /// What it should hold.
        expected: u64,
    },
    /// A number that the instruction has no room for.
    #[error("{0} does not fit in 32 bits")]
    NumberTooLarge(u64),
    /// An offset in bytes that a memory access has no room for.
    #[error("offset {0} does not fit in 15 bits")]
    OffsetTooLarge(u64),
    /// A field of so many bytes, which no access has.
    #[error("no memory access is {0} bytes wide")]
    AccessWidth(u64),
    /// One of these, at what the relocation asks for.
    #[error("{place}: {source}")]
    At {
        /// The type and field or enumerator.
        place: String,
        /// What is wrong.
        source: Box<Self>,
    },
}

use crate::core_relo::CoreError;

/// Reason why a reference of an instruction cannot be resolved. Each text continues after "function F, instruction N:".
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelocationError {
    #[error("its relocations cannot be read: {0}")]
    Unreadable(object::read::Error),
    #[error("its relocations carry addends (SHT_RELA), which eBPF objects do not have")]
    Addends,
    /// The relocation names a symbol past the end of the table.
    #[error("its relocation names symbol {0}, which does not exist")]
    NoSymbol(usize),
    /// Several code sections share a name, which is the only key of BTF records.
    #[error("{0} code sections are named {1}")]
    AmbiguousSection(usize, String),
    /// The function is damaged: its name, and the defect.
    #[error("{0} {1}")]
    DamagedFunction(String, &'static str),
    #[error("no function begins at offset {offset:#x} of section {section}")]
    NoFunction { section: usize, offset: u64 },
    /// The function ends in the middle of an instruction of two halves.
    #[error("the second half of a 64-bit load is missing")]
    HalfLoad,
    /// The relocation is inside an instruction: its kind, and its byte offset in the section.
    #[error("a {0} at {1:#x} is not at an instruction's start")]
    Misplaced(&'static str, u64),
    #[error("it has two relocations")]
    Doubled,
    /// The called function is neither defined nor declared as a kernel function.
    #[error("it calls {0}, which the object neither defines nor declares as a kernel function (__ksym)")]
    UndeclaredCall(String),
    /// A `__kconfig` variable is used without the map for it.
    #[error("the object has no .kconfig map")]
    NoKconfig,
    #[error("it refers to {0}, which the object does not define")]
    Undefined(String),
    #[error(
        "it refers to {0}, for which the object has no room (a common symbol): build it with -fno-common"
    )]
    Common(String),
    #[error(
        "relocation type {kind} against {symbol} does not go with operation {code:#04x} in section {section}"
    )]
    WrongKind { kind: u32, symbol: String, code: u8, section: usize },
    #[error("it calls {0} at an impossible place")]
    CallOutside(String),
    /// The address lies outside its section, which has this size in bytes.
    #[error("it refers to {0}, far outside its section of {1} bytes")]
    OutsideSection(String, u32),
    /// The address lies in a section that is not loaded.
    #[error("it refers to {0} in section {1}, which is neither a map nor a global variable")]
    NotLoaded(String, String),
    /// The jump table is invalid: its symbol, and the defect.
    #[error("its jump table {0} {1}")]
    JumpTable(String, &'static str),
    #[error("it refers to {0} in a section that does not exist")]
    NoSection(String),
    #[error("its target lies before its section")]
    BeforeSection,
    /// The number is valid only on the machine that wrote it: the instruction, and its `BPF_PSEUDO_*`.
    #[error("a {0} of kind {1} has no relocation")]
    Unrelocated(&'static str, u8),
    #[error("it names two exception callbacks, {0} and {1}; a program has one")]
    TwoCallbacks(String, String),
    #[error("its exception callback {0} is static; it has to be a global function")]
    StaticCallback(String),
    #[error("its exception callback {0} is not in the object: it has to be a global function in .text")]
    NoCallback(String),
    /// Neither the kernel nor its modules have the function or variable.
    #[error("neither this kernel nor its loaded modules have a {0} {1}")]
    NotInKernel(&'static str, String),
    #[error("it refers to too many modules")]
    TooManyModules,
    /// A CO-RE relocation failed.
    #[error(transparent)]
    Core(#[from] CoreError),
}

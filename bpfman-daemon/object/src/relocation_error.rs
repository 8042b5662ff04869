//! Why an instruction, or a function that is reached, cannot be resolved.

use crate::core_relo::CoreError;

/// Why what an instruction refers to cannot be resolved. The text goes on from "function F, instruction N:".
#[derive(Clone, Debug, thiserror::Error)]
pub enum RelocationError {
    /// The section's relocations lie outside the file.
    #[error("its relocations cannot be read: {0}")]
    Unreadable(object::read::Error),
    /// Relocations of the wrong form.
    #[error("its relocations carry addends (SHT_RELA), which eBPF objects do not have")]
    Addends,
    /// A relocation against a symbol past the table's end, by its number.
    #[error("its relocation names symbol {0}, which does not exist")]
    NoSymbol(usize),
    /// Several code sections of one name, which is all that BTF's records say of their section.
    #[error("{0} code sections are named {1}")]
    AmbiguousSection(usize, String),
    /// A function that cannot be linked, and what it is like.
    #[error("{0} {1}")]
    DamagedFunction(String, &'static str),
    /// No function at a byte offset of a section.
    #[error("no function begins at offset {offset:#x} of section {section}")]
    NoFunction {
        /// Index of the section.
        section: usize,
        /// Byte offset in it.
        offset: u64,
    },
    /// The function ends in the middle of an instruction of two halves.
    #[error("the second half of a 64-bit load is missing")]
    HalfLoad,
    /// A relocation inside an instruction: its kind, and its byte offset in the section.
    #[error("a {0} at {1:#x} is not at an instruction's start")]
    Misplaced(&'static str, u64),
    /// Two relocations of one instruction.
    #[error("it has two relocations")]
    Doubled,
    /// A call of something that is neither here nor known to be in the kernel.
    #[error("it calls {0}, which the object neither defines nor declares as a kernel function (__ksym)")]
    UndeclaredCall(String),
    /// A `__kconfig` variable without the map for it.
    #[error("the object has no .kconfig map")]
    NoKconfig,
    /// A symbol that is nowhere.
    #[error("it refers to {0}, which the object does not define")]
    Undefined(String),
    /// A variable without a section, by its name.
    #[error(
        "it refers to {0}, for which the object has no room (a common symbol): build it with -fno-common"
    )]
    Common(String),
    /// A relocation that the instruction cannot have.
    #[error(
        "relocation type {kind} against {symbol} does not go with operation {code:#04x} in section {section}"
    )]
    WrongKind {
        /// Its type, `R_BPF_*`.
        kind: u32,
        /// The symbol, and where it is.
        symbol: String,
        /// The instruction's operation.
        code: u8,
        /// Index of the instruction's section.
        section: usize,
    },
    /// A call to before the section's start.
    #[error("it calls {0} at an impossible place")]
    CallOutside(String),
    /// The address of something that is not in its section, which has so many bytes.
    #[error("it refers to {0}, far outside its section of {1} bytes")]
    OutsideSection(String, u32),
    /// The address of something in a section that is not loaded.
    #[error("it refers to {0} in section {1}, which is neither a map nor a global variable")]
    NotLoaded(String, String),
    /// A jump table that cannot be used: its symbol, and what is wrong with it.
    #[error("its jump table {0} {1}")]
    JumpTable(String, &'static str),
    /// The address of something in a section past the table's end.
    #[error("it refers to {0} in a section that does not exist")]
    NoSection(String),
    /// A relative call to before the section's start.
    #[error("its target lies before its section")]
    BeforeSection,
    /// A number that means something only on the machine that wrote it: the instruction, and its `BPF_PSEUDO_*`.
    #[error("a {0} of kind {1} has no relocation")]
    Unrelocated(&'static str, u8),
    /// More than one exception callback.
    #[error("it names two exception callbacks, {0} and {1}; a program has one")]
    TwoCallbacks(String, String),
    /// An exception callback that the kernel cannot find by name.
    #[error("its exception callback {0} is static; it has to be a global function")]
    StaticCallback(String),
    /// An exception callback that is not there.
    #[error("its exception callback {0} is not in the object: it has to be a global function in .text")]
    NoCallback(String),
    /// A function or variable that neither kernel nor modules have.
    #[error("neither this kernel nor its loaded modules have a {0} {1}")]
    NotInKernel(&'static str, String),
    /// Functions of more modules than a call can tell apart.
    #[error("it refers to too many modules")]
    TooManyModules,
    /// A relocation by the layout of a type.
    #[error(transparent)]
    Core(#[from] CoreError),
}

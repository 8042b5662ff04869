//! Everything that can be wrong with an object file, with the value that is.

use bpfmand_core::ProgramType;

use crate::RelocationError;
use crate::section_family::{SUPPORTED_SECTIONS, TYPES_OF_ANY_SECTION};

/// Why an object file, or one program of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No bytes at all.
    #[error("the file is empty, not an eBPF object")]
    Empty,
    /// Larger than [`crate::MAX_OBJECT_BYTES`].
    #[error("the file has {bytes} bytes, more than the {limit} that an eBPF object may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is read.
        limit: usize,
    },
    /// The first four bytes are not an ELF file's.
    #[error("not an ELF file: it begins with the bytes {found:02x?}")]
    NotElf {
        /// Up to four first bytes.
        found: Vec<u8>,
    },
    /// An ELF file of 32-bit class.
    #[error("the ELF file is of class {class}, eBPF objects are of class 2 (64 bit)")]
    NotSixtyFourBit {
        /// `EI_CLASS`.
        class: u8,
    },
    /// An ELF file of the other byte order.
    #[error("the ELF file is {found}-endian, this machine is {host}-endian; build it with -target {target}")]
    WrongEndian {
        /// Byte order of the file.
        found: &'static str,
        /// Byte order of this machine.
        host: &'static str,
        /// Clang's target that fits.
        target: &'static str,
    },
    /// An ELF file for another machine.
    #[error("the ELF file is for machine {machine}, not for eBPF (247)")]
    WrongMachine {
        /// `e_machine`.
        machine: u16,
    },
    /// An ELF file that is no relocatable object.
    #[error(
        "the ELF file is of type {elf_type}, not a relocatable object (1): give the output of `clang -c`"
    )]
    WrongType {
        /// `e_type`.
        elf_type: u16,
    },
    /// A header, table or section that is cut off or contradicts itself.
    #[error("the ELF file is damaged: {what}: {why}")]
    Damaged {
        /// The part that is wrong.
        what: String,
        /// The reason.
        why: String,
    },
    /// Type information that is cut off or contradicts itself.
    #[error("the type information (BTF) is damaged: {what}: {why}")]
    Btf {
        /// The part that is wrong.
        what: String,
        /// The reason.
        why: String,
    },
    /// A map declaration that cannot be read.
    #[error("map {map}: {why}")]
    Map {
        /// Its name.
        map: String,
        /// The reason.
        why: String,
    },
    /// The object has no program of that name.
    #[error("no program named {name}; the object has {}", listed(.available))]
    UnknownProgram {
        /// The name asked for.
        name: String,
        /// All programs of the object.
        available: Vec<String>,
    },
    /// Several static functions share the name.
    #[error(
        "the object has several static functions named {name} (in sections {} and {}): rename one, or make one global",
        .sections[0],
        .sections[1]
    )]
    AmbiguousProgram {
        /// The name asked for.
        name: String,
        /// Sections of the first two of them.
        sections: [String; 2],
    },
    /// The program's section names no kind of program that is supported, and the declared type needs one that does.
    #[error(
        "program {program} is declared as {declared}, and its section {section} is not supported: there it may be declared as \
         {}; otherwise supported are {}",
        names_of_any_section(),
        SUPPORTED_SECTIONS
    )]
    UnsupportedSection {
        /// The program.
        program: String,
        /// The type asked for.
        declared: ProgramType,
        /// Its section.
        section: String,
    },
    /// The program's section says another type than the one declared.
    #[error("program {program} is declared as {declared} but its section {section} says {family}")]
    TypeMismatch {
        /// The program.
        program: String,
        /// The type asked for.
        declared: ProgramType,
        /// Its section.
        section: String,
        /// What the section says.
        family: String,
    },
    /// An instruction refers to something that cannot be resolved.
    #[error("program {program}: function {function}, instruction {insn}: {why}")]
    Relocation {
        /// The program asked for.
        program: String,
        /// The function in which the instruction is: the program or one that it reaches.
        function: String,
        /// Index of the instruction in that function.
        insn: usize,
        /// What is wrong.
        why: RelocationError,
    },
    /// The program cannot be linked without the kernel's type information.
    #[error(
        "program {program} needs the kernel's type information (BTF) for {what}; the kernel needs CONFIG_DEBUG_INFO_BTF"
    )]
    NeedsKernelBtf {
        /// The program.
        program: String,
        /// What needs it.
        what: String,
    },
    /// More instructions than any kernel takes.
    #[error("program {program} has more than {limit} instructions")]
    TooManyInstructions {
        /// The program.
        program: String,
        /// The most that are linked.
        limit: usize,
    },
    /// The object has no global variable of that name.
    #[error("no global variable named {name}; the object has {}", listed(.available))]
    UnknownGlobal {
        /// The name asked for.
        name: String,
        /// All global variables of the object.
        available: Vec<String>,
    },
    /// The object declares no map of that name.
    #[error("no map named {name}; the object has {}", listed(.available))]
    UnknownMap {
        /// The name asked for.
        name: String,
        /// All maps that the object declares.
        available: Vec<String>,
    },
    /// A value of the wrong size for a global variable.
    #[error("global variable {name} ({type_name}) has {expected} bytes, the value given has {given}")]
    GlobalSize {
        /// The variable.
        name: String,
        /// Its type.
        type_name: String,
        /// Its size in bytes.
        expected: usize,
        /// The size of the value given, in bytes.
        given: usize,
    },
    /// A value that is none of a global variable's type.
    #[error("global variable {name} ({type_name}): {why}")]
    GlobalText {
        /// The variable.
        name: String,
        /// Its type.
        type_name: String,
        /// What is wrong, and where in it.
        why: String,
    },
    /// Several static variables share the name.
    #[error("{count} global variables are named {name}: rename one, so that it is clear which one is meant")]
    AmbiguousGlobal {
        /// The name asked for.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// What another process, which read the object, says is wrong with it.
    #[error("{0}")]
    Told(String),
    /// A `__kconfig` variable without a value for it.
    #[error("kernel configuration variable {name}: {why}")]
    Kconfig {
        /// The variable.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl ObjectError {
    pub(crate) fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }

    pub(crate) fn btf(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Btf { what: what.into(), why: why.into() }
    }

    /// What to do about a value that was set of the object.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownGlobal { .. } | Self::UnknownMap { .. } => {
                Some("names are those of the object's source; `bpftool btf dump file OBJECT` shows them")
            }
            Self::GlobalText { .. } | Self::GlobalSize { .. } => Some(
                "write a value of its type: 100, eth0, [80, 443], {\"rate\": 5}; `bpfman load --global` also takes all its \
                 bytes, two hexadecimal digits each",
            ),
            _ => None,
        }
    }

    pub(crate) fn map(map: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Map { map: map.into(), why: why.into() }
    }
}

/// Names in an error: all of them up to twenty, then how many more.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.len() {
        0 => "none".to_owned(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
    }
}

fn names_of_any_section() -> String {
    TYPES_OF_ANY_SECTION.map(ProgramType::name).join(", ")
}

use bpfman_model::ProgramType;

use crate::RelocationError;
use crate::section_family::{SUPPORTED_SECTIONS, TYPES_OF_ANY_SECTION};

/// Reason why an object file, or one program of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("the file is empty, not an eBPF object")]
    Empty,
    #[error("the file has {bytes} bytes, more than the {limit} that an eBPF object may have")]
    TooLarge {
        /// Size of the file, in bytes.
        bytes: usize,
        /// Limit, in bytes.
        limit: usize,
    },
    #[error("not an ELF file: it begins with the bytes {found:02x?}")]
    NotElf {
        /// First bytes of the file, up to four.
        found: Vec<u8>,
    },
    #[error("the ELF file is of class {class}, eBPF objects are of class 2 (64 bit)")]
    NotSixtyFourBit { class: u8 },
    #[error("the ELF file is {found}-endian, this machine is {host}-endian; build it with -target {target}")]
    WrongEndian { found: &'static str, host: &'static str, target: &'static str },
    #[error("the ELF file is for machine {machine}, not for eBPF (247)")]
    WrongMachine { machine: u16 },
    #[error(
        "the ELF file is of type {elf_type}, not a relocatable object (1): give the output of `clang -c`"
    )]
    WrongType { elf_type: u16 },
    #[error("the ELF file is damaged: {what}: {why}")]
    Damaged { what: String, why: String },
    #[error("the type information (BTF) is damaged: {what}: {why}")]
    Btf { what: String, why: String },
    /// A map declaration cannot be parsed.
    #[error("map {map}: {why}")]
    Map { map: String, why: String },
    #[error("no program named {name}; the object has {}", listed(.available))]
    UnknownProgram { name: String, available: Vec<String> },
    #[error(
        "the object has several static functions named {name} (in sections {} and {}): rename one, or make one global",
        .sections[0],
        .sections[1]
    )]
    AmbiguousProgram {
        name: String,
        /// Sections of the first two functions.
        sections: [String; 2],
    },
    /// The section name is not supported, and the declared type requires a supported one.
    #[error(
        "program {program} is declared as {declared}, and its section {section} is not supported: there it may be declared as \
         {}; otherwise supported are {}",
        names_of_any_section(),
        SUPPORTED_SECTIONS
    )]
    UnsupportedSection { program: String, declared: ProgramType, section: String },
    /// The section of the program stands for another type than declared.
    #[error("program {program} is declared as {declared} but its section {section} is for {family}")]
    TypeMismatch { program: String, declared: ProgramType, section: String, family: String },
    #[error("program {program}: function {function}, instruction {insn}: {why}")]
    Relocation {
        program: String,
        /// Function with the instruction: the program or one that it reaches.
        function: String,
        /// Index of the instruction in that function.
        insn: usize,
        why: RelocationError,
    },
    #[error(
        "program {program} needs the kernel's type information (BTF) for {what}; the kernel needs CONFIG_DEBUG_INFO_BTF"
    )]
    NeedsKernelBtf {
        program: String,
        /// Part of the program that needs it.
        what: String,
    },
    #[error("program {program} has more than {limit} instructions")]
    TooManyInstructions { program: String, limit: usize },
    #[error("no global variable named {name}; the object has {}", listed(.available))]
    UnknownGlobal {
        name: String,
        /// All global variables of the object.
        available: Vec<String>,
    },
    #[error("no map named {name}; the object has {}", listed(.available))]
    UnknownMap {
        name: String,
        /// All maps that the object declares.
        available: Vec<String>,
    },
    /// A value has the wrong size for a global variable.
    #[error("global variable {name} ({type_name}) has {expected} bytes, the value given has {given}")]
    GlobalSize {
        name: String,
        type_name: String,
        /// Size of the variable, in bytes.
        expected: usize,
        /// Size of the value, in bytes.
        given: usize,
    },
    /// A value does not fit the type of a global variable.
    #[error("global variable {name} ({type_name}): {why}")]
    GlobalText {
        name: String,
        type_name: String,
        /// Error, with its position in the value.
        why: String,
    },
    #[error("{count} global variables are named {name}: rename one, so that it is clear which one is meant")]
    AmbiguousGlobal {
        name: String,
        /// Number of variables of that name.
        count: usize,
    },
    /// Text of an error that an object reader process reported.
    #[error("{0}")]
    Reported(String),
    #[error("kernel configuration variable {name}: {why}")]
    Kconfig { name: String, why: String },
}

impl ObjectError {
    pub(crate) fn damaged(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), why: why.into() }
    }

    pub(crate) fn btf(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Btf { what: what.into(), why: why.into() }
    }

    /// Returns a hint about a value that was set for the object.
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

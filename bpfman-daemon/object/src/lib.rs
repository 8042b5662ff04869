//! Reads eBPF object files: their contents, requirements and relocations.
//!
//! Bytes in, plain data out: no system calls. [`ObjectFile::parse`] reads programs, maps and global variables;
//! [`ObjectFile::text`] links one program to the form that the kernel loads, except that map references are still
//! indexes into [`ObjectFacts::maps`]. Programs of one object are independent: a defect of a program is reported only
//! when that program is requested.
//!
//! The conventions are libbpf's (section names, map declarations, relocations), so that objects written for it load.
//! Linking and CO-RE are implemented here instead of using aya-obj, which (as of 0.3) refuses a whole object for one
//! unknown section, lacks kernel functions and `__kconfig`, confuses functions at the same offset of two sections, and
//! keeps the kernel's types in several times their size.

mod bit_field;
mod btf;
mod check;
mod core_relo;
mod declared_types;
mod elf;
mod entry_text;
mod error;
mod exceptions;
mod externs;
mod facts;
mod field_text;
mod functions;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod globals;
mod held;
mod json_names;
mod jump_tables;
mod kernel_btf;
mod kernel_index;
mod kernel_struct_ops;
mod layout;
mod link;
mod map_types;
mod maps;
mod needs;
mod object_file;
mod prefix_text;
mod program_functions;
mod programs;
mod references;
mod relocation_error;
mod section_family;
mod shown;
mod tag;
mod value_text;
mod wants;

pub use bit_field::{read_bits, sign_extended};
pub use btf::BtfFeatures;
pub use core_relo::CoreError;
pub use declared_types::DeclaredTypes;
pub use entry_text::plain_bytes;
pub use error::ObjectError;
pub use externs::{KconfigExtern, KconfigKind, KconfigValue};
pub use facts::{MapTypes, ObjectFacts};
pub use globals::GlobalVariable;
pub use held::SharedBytes;
pub use kernel_btf::{KernelBtf, KernelFunction, KernelSymbol};
pub use kernel_struct_ops::{KernelStructOps, LaidOut};
pub use layout::{FieldLayout, ValueLayout};
pub use link::{Unresolved, WantedAddress};
pub use map_types::{ProgramTypes, TypeNames};
pub use maps::{InitialSlot, SlotTarget, StructOpsMap, StructOpsMember, StructOpsValue};
pub use object_file::{LinkedProgram, ObjectFile, TextOptions};
pub use prefix_text::{is_prefix, prefix_of_text, prefix_text};
pub use program_functions::{FunctionOfTypes, ProgramFunctions};
pub use programs::ProgramEntry;
pub use relocation_error::RelocationError;
pub use section_family::SectionFamily;
pub use tag::kernel_tags;
pub use wants::{NewerInstruction, ProgramWants};

/// Maximum size of an object file, in bytes.
pub const MAX_OBJECT_BYTES: usize = 16 << 20;

/// Maximum number of instructions of a linked program: the kernel's limit for privileged loads (Linux 5.2 and later).
pub const MAX_INSTRUCTIONS: usize = 1_000_000;

//! What a program asks of a kernel, as its file says, with all functions that it reaches.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bpfmand_core::{Insn, op};

use crate::btf::Kind;
use crate::core_relo;
use crate::functions::Functions;
use crate::needs::entry_points;
use crate::object_file::ObjectFile;
use crate::programs::ProgramEntry;
use crate::references::Reference;
use crate::{ObjectError, RelocationError};

/// What a program asks of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramWants {
    /// Helpers that it calls, by number.
    pub helpers: BTreeSet<u32>,
    /// Functions of the kernel that it calls; true for those that may be missing.
    pub functions: BTreeMap<String, bool>,
    /// Variables of the kernel that it refers to; true for those that may be missing.
    pub variables: BTreeMap<String, bool>,
    /// Types, fields and enumerators whose place in the kernel it asks for, in words; true for those of which it also asks
    /// whether they are there, so that it can do without.
    pub types: BTreeMap<String, bool>,
    /// Instructions that not every kernel has.
    pub instructions: BTreeSet<NewerInstruction>,
}

/// Instructions that came after the first kernels with eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewerInstruction {
    /// Calls of the program's own functions.
    LocalCall,
    /// Comparisons of 32 bits.
    Jump32,
    /// Addresses of the program's own functions, for callbacks.
    FunctionAddress,
    /// Atomic operations other than an addition whose result is dropped.
    Atomic,
    /// Jumps with 32-bit offsets, signed loads, moves and divisions, byte swaps of all registers.
    Version4,
}

impl ObjectFile {
    /// What a program asks of a kernel.
    ///
    /// # Errors
    /// [`ObjectError::UnknownProgram`], and [`ObjectError::Relocation`] for what is damaged.
    pub fn wants(&self, program: &str) -> Result<ProgramWants, ObjectError> {
        let entry = self.program(program)?;
        wants(self, entry).map_err(|why| ObjectError::Relocation {
            program: entry.name.clone(),
            function: entry.name.clone(),
            insn: 0,
            why,
        })
    }
}

fn wants(object: &ObjectFile, entry: &ProgramEntry) -> Result<ProgramWants, RelocationError> {
    let mut wants = ProgramWants::default();
    let mut queue = entry_points(object, entry)?;
    let mut seen: HashSet<_> = queue.iter().copied().collect();
    while let Some(key) = queue.pop() {
        let function = object.functions.get(key)?;
        if let Some(btf) = &object.btf {
            for record in object.core_records(key, function.len)? {
                if let Some((what, asks)) = core_relo::in_words(record, btf) {
                    *wants.types.entry(what).or_default() |= asks;
                }
            }
        }
        let insns: Vec<Insn> = Functions::instructions(&object.elf, key, function.len).collect();
        let references = object.references(key, &insns).map_err(|(_, why)| why)?;
        let referring: HashSet<usize> = references.iter().map(|(at, _)| *at).collect();
        for (at, reference) in references {
            match reference {
                Reference::Function(callee) => {
                    let newer = match insns[at].is_ld_imm64() {
                        true => NewerInstruction::FunctionAddress,
                        false => NewerInstruction::LocalCall,
                    };
                    wants.instructions.insert(newer);
                    if seen.insert(callee) {
                        queue.push(callee);
                    }
                }
                Reference::Kernel { name, weak, kind } => {
                    let of_kind = match kind {
                        Kind::Func => &mut wants.functions,
                        _ => &mut wants.variables,
                    };
                    of_kind.insert(name.to_owned(), weak);
                }
                Reference::Map(_) | Reference::MapValue { .. } | Reference::Null => {}
            }
        }
        for (at, insn) in insns.iter().enumerate() {
            let is_helper = insn.code == op::CALL && insn.src() == 0 && !referring.contains(&at);
            if is_helper {
                wants.helpers.insert(insn.imm.cast_unsigned());
            }
            wants.instructions.extend(newer(insn));
        }
    }
    Ok(wants)
}

/// What is newer about an instruction itself.
fn newer(insn: &Insn) -> Option<NewerInstruction> {
    const LOAD: u8 = 0x01;
    const STORE: u8 = 0x03;
    const ALU: u8 = 0x04;
    const JMP32: u8 = 0x06;
    const ALU64: u8 = 0x07;
    const ATOMIC: u8 = 0xc0;
    const SIGNED: u8 = 0x80;
    const ADD: i32 = 0;
    let (class, mode, operation) = (insn.code & 7, insn.code & 0xe0, insn.code & 0xf0);
    match class {
        JMP32 if insn.code == op::JA32 => Some(NewerInstruction::Version4),
        JMP32 => Some(NewerInstruction::Jump32),
        STORE if mode == ATOMIC && insn.imm != ADD => Some(NewerInstruction::Atomic),
        LOAD if mode == SIGNED => Some(NewerInstruction::Version4),
        // Signed moves and divisions have an offset; byte swaps of 64 bits are of the other class.
        ALU | ALU64 if matches!(operation, 0x30 | 0x90 | 0xb0) && insn.off != 0 => {
            Some(NewerInstruction::Version4)
        }
        ALU64 if operation == 0xd0 => Some(NewerInstruction::Version4),
        _ => None,
    }
}

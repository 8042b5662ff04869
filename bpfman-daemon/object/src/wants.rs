use std::collections::{BTreeMap, BTreeSet, HashSet};

use bpfman_model::{Insn, op};

use crate::btf::Kind;
use crate::core_relo;
use crate::functions::Functions;
use crate::needs::Reached;
use crate::object_file::ObjectFile;
use crate::programs::ProgramEntry;
use crate::references::Reference;
use crate::{ObjectError, RelocationError};

/// Kernel requirements of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramWants {
    /// Numbers of called helpers.
    pub helpers: BTreeSet<u32>,
    /// Called kernel functions; `true` if they may be missing.
    pub functions: BTreeMap<String, bool>,
    /// Kernel variables; `true` if they may be missing.
    pub variables: BTreeMap<String, bool>,
    /// Kernel symbols by address; `true` if they may be missing.
    pub symbols: BTreeMap<String, bool>,
    /// Types, fields and enumerators, as text; `true` if the program also tests their existence.
    pub types: BTreeMap<String, bool>,
    /// Instructions that not every kernel accepts.
    pub instructions: BTreeSet<NewerInstruction>,
    /// Set if the program tests for kernel features, and so may not need all of these.
    pub asks_first: bool,
}

/// Instructions newer than the first kernels with eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewerInstruction {
    /// Instructions that this crate does not know.
    Other,
    /// Jumps by less than, and less or equal.
    LessThan,
    /// Calls of the program's own functions.
    LocalCall,
    /// 32-bit comparisons.
    Jump32,
    /// Global variables: addresses in values of maps.
    GlobalVariable,
    /// Atomic operations other than an addition without its result.
    Atomic,
    /// Addresses of the program's own functions, for callbacks.
    FunctionAddress,
    /// Jumps with 32-bit offsets, signed loads, moves and divisions, byte swaps of all registers.
    Version4,
    /// Loops that the kernel terminates (`may_goto`).
    MayGoto,
    /// Casts of arena addresses.
    AddressCast,
    /// Load-acquire and store-release.
    AcquireRelease,
    /// Jumps to an address in a register.
    IndirectJump,
}

impl ObjectFile {
    /// Returns the kernel requirements of a program.
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
    let mut reached = Reached::of(object, entry)?;
    while let Some(key) = reached.next() {
        let function = object.functions.get(key)?;
        if let Some(btf) = &object.btf {
            for record in object.core_records(key, function.len)? {
                if let Some((what, asks)) = core_relo::in_words(record, btf) {
                    *wants.types.entry(what).or_default() |= asks;
                    wants.asks_first |= asks;
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
                    reached.follow(callee);
                }
                Reference::Kernel { name, weak, kind } => {
                    let of_kind = match kind {
                        Kind::Func => &mut wants.functions,
                        _ => &mut wants.variables,
                    };
                    of_kind.insert(name.to_owned(), weak);
                    wants.asks_first |= weak;
                }
                Reference::MapValue { map, .. } => {
                    wants.instructions.insert(NewerInstruction::GlobalVariable);
                    wants.asks_first |= object.facts.kconfig.as_ref().is_some_and(|(of, _)| *of == map);
                }
                Reference::Address { name, weak } => {
                    wants.symbols.insert(name.to_owned(), weak);
                    wants.asks_first |= weak;
                }
                Reference::JumpTable(_) => {
                    wants.instructions.insert(NewerInstruction::IndirectJump);
                }
                Reference::Map(_) => {}
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

/// Returns the feature that an instruction needs, if the first kernels with eBPF lack the instruction.
fn newer(insn: &Insn) -> Option<NewerInstruction> {
    const LOAD: u8 = 0x01;
    const STORE: u8 = 0x03;
    const ALU: u8 = 0x04;
    const JMP: u8 = 0x05;
    const JMP32: u8 = 0x06;
    const ALU64: u8 = 0x07;
    const INDIRECT: u8 = 0x0d;
    const ATOMIC: u8 = 0xc0;
    const SIGNED: u8 = 0x80;
    const MOVE64: u8 = 0xbf;
    const SWAP64: u8 = 0xd7;
    const ACQUIRE: i32 = 0x100;
    const RELEASE: i32 = 0x110;
    let (class, mode, operation) = (insn.code & 7, insn.code & 0xe0, insn.code & 0xf0);
    match class {
        _ if insn.code == op::JCOND => Some(NewerInstruction::MayGoto),
        _ if insn.code == INDIRECT => Some(NewerInstruction::IndirectJump),
        JMP32 if insn.code == op::JA32 => Some(NewerInstruction::Version4),
        JMP32 if is_comparison(operation) => Some(NewerInstruction::Jump32),
        JMP if matches!(operation, 0xa0..=0xd0) => Some(NewerInstruction::LessThan),
        STORE if mode == ATOMIC && matches!(insn.imm, ACQUIRE | RELEASE) => {
            Some(NewerInstruction::AcquireRelease)
        }
        STORE if mode == ATOMIC && is_atomic(insn.imm) => Some(NewerInstruction::Atomic),
        LOAD if mode == SIGNED => Some(NewerInstruction::Version4),
        // The offset of a signed move is a width; that of an address cast is 1.
        ALU64 if insn.code == MOVE64 && insn.off == 1 => Some(NewerInstruction::AddressCast),
        // Signed moves and divisions have an offset; 64-bit byte swaps are of the other class.
        ALU | ALU64 if is_signed(operation, insn.off) => Some(NewerInstruction::Version4),
        ALU64 if insn.code == SWAP64 => Some(NewerInstruction::Version4),
        _ if is_of_first_kernels(insn) => None,
        _ => Some(NewerInstruction::Other),
    }
}

const fn is_signed(operation: u8, offset: i16) -> bool {
    match operation {
        0x30 | 0x90 => offset == 1,
        0xb0 => matches!(offset, 8 | 16 | 32),
        _ => false,
    }
}

const fn is_comparison(operation: u8) -> bool {
    matches!(operation, 0x10..=0x70 | 0xa0..=0xd0)
}

/// Returns whether an atomic operation is newer than the first kernels, which only have the addition without fetch.
const fn is_atomic(imm: i32) -> bool {
    matches!(imm, 0x01 | 0x40 | 0x41 | 0x50 | 0x51 | 0xa0 | 0xa1 | 0xe1 | 0xf1)
}

/// Returns whether the first kernels with eBPF have the instruction, by its opcode.
const fn is_of_first_kernels(insn: &Insn) -> bool {
    let (code, operation) = (insn.code, insn.code & 0xf0);
    match code & 7 {
        // The second half of a 64-bit immediate has code 0.
        0 => matches!(code, 0x00 | 0x18 | 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50),
        1 => matches!(code, 0x61 | 0x69 | 0x71 | 0x79),
        2 => matches!(code, 0x62 | 0x6a | 0x72 | 0x7a),
        3 => matches!(code, 0x63 | 0x6b | 0x73 | 0x7b) || matches!(code, 0xc3 | 0xdb) && insn.imm == 0,
        4 => matches!(operation, 0x00..=0xc0) && insn.off == 0 || matches!(code, 0xd4 | 0xdc),
        5 => matches!(code, 0x05 | op::CALL | op::EXIT) || is_comparison(operation),
        7 => matches!(operation, 0x00..=0xc0) && insn.off == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::NewerInstruction::{
        AcquireRelease, AddressCast, Atomic, IndirectJump, Jump32, LessThan, MayGoto, Other, Version4,
    };
    use super::*;

    #[test]
    fn each_instruction_is_as_new_as_the_kernel_that_brought_it() {
        let of = |code, off, imm| newer(&Insn::new(code, 1, 2, off, imm));
        for (code, off, imm, expected) in [
            (0x07, 0, 1, None),            // r1 += 1
            (0xbf, 0, 0, None),            // r1 = r2
            (0xbf, 8, 0, Some(Version4)),  // r1 = (s8)r2
            (0xbc, 16, 0, Some(Version4)), // w1 = (s16)w2
            (0xbf, 1, 1 << 16, Some(AddressCast)),
            (0x3f, 0, 0, None),            // r1 /= r2
            (0x3f, 1, 0, Some(Version4)),  // r1 s/= r2
            (0x9c, 1, 0, Some(Version4)),  // w1 s%= w2
            (0xd4, 0, 16, None),           // r1 = le16 r1
            (0xdc, 0, 16, None),           // r1 = be16 r1
            (0xd7, 0, 16, Some(Version4)), // r1 = bswap16 r1
            (0x79, 0, 0, None),            // r1 = *(u64 *)(r2 + 0)
            (0x91, 0, 0, Some(Version4)),  // r1 = *(s8 *)(r2 + 0)
            (0xdb, 0, 0, None),            // lock *(u64 *)(r1 + 0) += r2
            (0xdb, 0, 1, Some(Atomic)),    // fetch and add
            (0xc3, 0, 0x40, Some(Atomic)), // lock *(u32 *)(r1 + 0) |= r2
            (0xdb, 0, 0xf1, Some(Atomic)), // compare and exchange
            (0xdb, 0, 0x100, Some(AcquireRelease)),
            (0xdb, 0, 0x110, Some(AcquireRelease)),
            (0x15, 1, 0, None),           // if r1 == 0
            (0x16, 1, 0, Some(Jump32)),   // if w1 == 0
            (0x05, 1, 0, None),           // goto
            (0x06, 0, 1, Some(Version4)), // gotol
            (0xe5, 1, 0, Some(MayGoto)),
            (0x0d, 0, 0, Some(IndirectJump)),
            (0xa5, 1, 9, Some(LessThan)), // if r1 < 9
            (0x18, 0, 0, None),           // r1 = 0 ll
            (0x85, 0, 0, None),           // call
            (0x95, 0, 0, None),           // exit
            (0x30, 0, 0, None),           // r0 = *(u8 *)skb[0]
            (0x8d, 0, 0, Some(Other)),    // callx r1
            (0xef, 0, 0, Some(Other)),
            (0xbf, 2, 0, Some(Other)),
            (0x3f, 2, 0, Some(Other)),
            (0xdb, 0, 0x77, Some(Other)),
            (0xe5, 1, 1, Some(MayGoto)),
        ] {
            assert_eq!(of(code, off, imm), expected, "{code:#x} {off} {imm:#x}");
        }
    }
}

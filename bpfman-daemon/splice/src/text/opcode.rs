//! Operation codes that the glue emits and the analyses recognise, in addition to those of [`bpfman_model::op`].
//!
//! Built from the fields of `linux/bpf.h`: class in the low three bits, source or size, operation or mode on top.

pub(crate) const CLASS_LD: u8 = 0x00;
pub(crate) const CLASS_LDX: u8 = 0x01;
pub(crate) const CLASS_ST: u8 = 0x02;
pub(crate) const CLASS_STX: u8 = 0x03;
pub(crate) const CLASS_ALU: u8 = 0x04;
pub(crate) const CLASS_ALU64: u8 = 0x07;

pub(crate) const SOURCE_REGISTER: u8 = 0x08;

/// The high four bits.
pub(crate) const ADD: u8 = 0x00;
pub(crate) const SUB: u8 = 0x10;
pub(crate) const MUL: u8 = 0x20;
pub(crate) const OR: u8 = 0x40;
pub(crate) const AND: u8 = 0x50;
pub(crate) const LSH: u8 = 0x60;
pub(crate) const RSH: u8 = 0x70;
pub(crate) const NEG: u8 = 0x80;
pub(crate) const XOR: u8 = 0xa0;
pub(crate) const MOV: u8 = 0xb0;
pub(crate) const ARSH: u8 = 0xc0;
pub(crate) const END: u8 = 0xd0;

/// The high three bits.
pub(crate) const MODE_ABS: u8 = 0x20;
pub(crate) const MODE_IND: u8 = 0x40;
pub(crate) const MODE: u8 = 0xe0;
pub(crate) const MODE_MEM: u8 = 0x60;
/// Sign-extending loads (Linux 6.6 and later).
pub(crate) const MODE_MEMSX: u8 = 0x80;
pub(crate) const MODE_ATOMIC: u8 = 0xc0;
pub(crate) const SIZE: u8 = 0x18;
pub(crate) const SIZE_W: u8 = 0x00;
pub(crate) const SIZE_H: u8 = 0x08;
pub(crate) const SIZE_B: u8 = 0x10;
pub(crate) const SIZE_DW: u8 = 0x18;
/// The old value goes to the source register.
pub(crate) const ATOMIC_FETCH: i32 = 0x01;
/// The old value goes to register 0.
pub(crate) const ATOMIC_CMPXCHG: i32 = 0xf1;
/// Linux 6.15 and later: the value goes to the destination register.
pub(crate) const ATOMIC_LOAD_ACQUIRE: i32 = 0x100;

/// The high four bits.
pub(crate) const JUMP_EQ: u8 = 0x10;
pub(crate) const JUMP_GT: u8 = 0x20;
pub(crate) const JUMP_GE: u8 = 0x30;
pub(crate) const JUMP_SET: u8 = 0x40;
pub(crate) const JUMP_NE: u8 = 0x50;
pub(crate) const JUMP_SGT: u8 = 0x60;
pub(crate) const JUMP_SGE: u8 = 0x70;
pub(crate) const JUMP_LT: u8 = 0xa0;
pub(crate) const JUMP_LE: u8 = 0xb0;
pub(crate) const JUMP_SLT: u8 = 0xc0;
pub(crate) const JUMP_SLE: u8 = 0xd0;
pub(crate) const JUMP_CALL: u8 = 0x80;
pub(crate) const JUMP_EXIT: u8 = 0x90;

pub(crate) const MOV64_REG: u8 = 0xbf;
pub(crate) const MOV64_IMM: u8 = 0xb7;
pub(crate) const MOV32_IMM: u8 = 0xb4;
pub(crate) const MOV32_REG: u8 = 0xbc;
pub(crate) const ADD32_IMM: u8 = 0x04;
pub(crate) const AND64_IMM: u8 = 0x57;
pub(crate) const SUB64_REG: u8 = 0x1f;
pub(crate) const AND32_IMM: u8 = 0x54;
pub(crate) const XOR32_REG: u8 = 0xac;
pub(crate) const LSH32_IMM: u8 = 0x64;
pub(crate) const ADD64_IMM: u8 = 0x07;
pub(crate) const ADD64_REG: u8 = 0x0f;
pub(crate) const LSH32_REG: u8 = 0x6c;
pub(crate) const RSH32_REG: u8 = 0x7c;
pub(crate) const STORE_DW_REG: u8 = 0x7b;
pub(crate) const STORE_DW_IMM: u8 = 0x7a;
pub(crate) const LSH64_IMM: u8 = 0x67;
pub(crate) const JEQ64_REG: u8 = 0x1d;
pub(crate) const JNE64_REG: u8 = 0x5d;
pub(crate) const JGE64: u8 = 0x35;
pub(crate) const JGE64_REG: u8 = 0x3d;
pub(crate) const LOAD_DW: u8 = 0x79;
pub(crate) const LOAD_W: u8 = 0x61;
pub(crate) const JEQ64: u8 = 0x15;
pub(crate) const JNE64: u8 = 0x55;
/// Linux 5.1 and later, with an immediate.
pub(crate) const JEQ32: u8 = 0x16;
pub(crate) const JNE32: u8 = 0x56;
pub(crate) const JGT32: u8 = 0x26;
pub(crate) const JLT32: u8 = 0xa6;
pub(crate) const JLE32: u8 = 0xb6;
pub(crate) const JSET32: u8 = 0x46;

/// Indexes into the loader's descriptor array.
pub(crate) const PSEUDO_MAP_IDX: u8 = 5;
pub(crate) const PSEUDO_MAP_IDX_VALUE: u8 = 6;

pub(crate) const FRAME: u8 = 10;

/// Returns the number of bytes that a load or store reads or writes.
pub(crate) const fn access_size(code: u8) -> u8 {
    match code & SIZE {
        SIZE_B => 1,
        SIZE_H => 2,
        SIZE_W => 4,
        _ => 8,
    }
}

//! One eBPF instruction, in the layout of the kernel's `struct bpf_insn`.

/// eBPF instruction. A 64-bit immediate load takes two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Insn {
    /// Operation code: class, size or operation, mode or source.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub regs: u8,
    /// Signed offset: of a jump in instructions, of a memory access in bytes.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

impl Insn {
    /// Builds an instruction from its fields.
    #[must_use]
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self { code, regs: (src << 4) | (dst & 0xf), off, imm }
    }

    /// Returns the destination register, 0 to 10.
    #[must_use]
    pub const fn dst(self) -> u8 {
        self.regs & 0xf
    }

    /// Returns the source register, or the pseudo source that marks map and function references.
    #[must_use]
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }

    /// Returns the instruction class (`BPF_CLASS`), the low three bits of the code.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.code & 0x07
    }

    /// Returns whether this is the first half of a 64-bit immediate load.
    #[must_use]
    pub const fn is_ld_imm64(self) -> bool {
        self.code == op::LD_IMM64
    }

    /// Returns whether this is the first half of a load of a map's descriptor or of an address in a map's value.
    #[must_use]
    pub const fn is_map_reference(self) -> bool {
        self.is_ld_imm64() && matches!(self.src(), op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE)
    }

    /// Returns whether this is a call of a function of the same program; its target is `imm + 1` instructions ahead.
    #[must_use]
    pub const fn is_local_call(self) -> bool {
        self.code == op::CALL && self.src() == op::PSEUDO_CALL
    }

    /// Returns whether this is a load of a local function's address; its target is `imm + 1` instructions ahead.
    #[must_use]
    pub const fn is_function_pointer(self) -> bool {
        self.is_ld_imm64() && self.src() == op::PSEUDO_FUNC
    }

    /// Returns the eight bytes in this machine's byte order, as its kernel reads them.
    #[must_use]
    pub const fn to_ne_bytes(self) -> [u8; 8] {
        let off = self.off.to_ne_bytes();
        let imm = self.imm.to_ne_bytes();
        [self.code, self.regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }

    /// Creates an instruction from eight bytes in this machine's byte order.
    #[must_use]
    pub const fn from_ne_bytes(b: [u8; 8]) -> Self {
        Self {
            code: b[0],
            regs: b[1],
            off: i16::from_ne_bytes([b[2], b[3]]),
            imm: i32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }
}

/// Operation codes and pseudo registers, named as in `linux/bpf.h`.
pub mod op {
    /// `BPF_LD | BPF_IMM | BPF_DW`.
    pub const LD_IMM64: u8 = 0x18;
    /// `BPF_JMP | BPF_CALL`.
    pub const CALL: u8 = 0x85;
    /// `BPF_JMP | BPF_EXIT`.
    pub const EXIT: u8 = 0x95;
    /// `BPF_JMP | BPF_JA`: 16-bit offset in `off`.
    pub const JA: u8 = 0x05;
    /// `BPF_JMP32 | BPF_JA`: 32-bit offset in `imm` (Linux 6.4 and later).
    pub const JA32: u8 = 0x06;
    /// `BPF_JMP | BPF_JCOND`: `may_goto` (Linux 6.9 and later).
    pub const JCOND: u8 = 0xe5;
    /// Class of 64-bit jumps.
    pub const CLASS_JMP: u8 = 0x05;
    /// Class of 32-bit jumps.
    pub const CLASS_JMP32: u8 = 0x06;
    /// `BPF_PSEUDO_MAP_FD`.
    pub const PSEUDO_MAP_FD: u8 = 1;
    /// `BPF_PSEUDO_MAP_VALUE`.
    pub const PSEUDO_MAP_VALUE: u8 = 2;
    /// `BPF_PSEUDO_BTF_ID`: address of a kernel variable.
    pub const PSEUDO_BTF_ID: u8 = 3;
    /// `BPF_PSEUDO_FUNC`.
    pub const PSEUDO_FUNC: u8 = 4;
    /// `BPF_PSEUDO_CALL`, in a call's source register.
    pub const PSEUDO_CALL: u8 = 1;
    /// `BPF_PSEUDO_KFUNC_CALL`, in a call's source register.
    pub const PSEUDO_KFUNC_CALL: u8 = 2;
}

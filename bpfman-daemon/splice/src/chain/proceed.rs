//! Sets of verdicts with which a chain continues, and the cheapest test for one.

use bpfman_model::Insn;

use crate::chain::hook::{Code, SpliceHook, TC_SHOT};
use crate::text::asm::{Asm, Label};
use crate::text::opcode;

/// Proceed-on set. XDP: bit n is code n; TC: code n - 1. Other codes: [`Self::EVERYTHING`], [`Self::UNLESS_DROPPED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProceedMask(pub u32);

impl ProceedMask {
    /// Bit 31: the code that a dispatcher returns for an empty slot.
    pub const DISPATCHER_RETURN: Self = Self(1 << 31);

    /// Set of a shadow member: the chain continues with any code. No set of named verdicts has all bits.
    pub const EVERYTHING: Self = Self(u32::MAX);

    /// SHOT, STOLEN, QUEUED, REDIRECT and TRAP take a packet away from this interface.
    const DROPPING: u32 = 1 << 2 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8;

    /// Set of a TC member before the machine's: it can drop, and continues after all other codes.
    pub const UNLESS_DROPPED: Self = Self(!(Self::DROPPING << 1));

    /// Returns whether the next member runs after `code`.
    #[must_use]
    pub fn contains(self, hook: SpliceHook, code: Code) -> bool {
        if self == Self::UNLESS_DROPPED {
            return !(0..=8).contains(&code) || Self::DROPPING >> code & 1 == 0;
        }
        let bit = i64::from(code) - i64::from(hook.first_code());
        self == Self::EVERYTHING || (0..32).contains(&bit) && self.0 >> bit & 1 == 1
    }

    /// Returns the codes of the set, by bit.
    pub fn codes(self, hook: SpliceHook) -> impl Iterator<Item = Code> {
        (0..32).filter(move |bit| self.0 >> bit & 1 == 1).map(move |bit| bit + hook.first_code())
    }

    /// Returns the codes as ranges of unsigned numbers, ascending: -1 comes last.
    fn runs(self, hook: SpliceHook) -> Vec<(u32, u32)> {
        let mut codes: Vec<u32> = self.codes(hook).map(i32::cast_unsigned).collect();
        codes.sort_unstable();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for code in codes {
            match runs.last_mut() {
                Some((_, high)) if *high + 1 == code => *high = code,
                _ => runs.push((code, code)),
            }
        }
        runs
    }
}

/// Jumps to `go`, also for codes unknown to the kernel, or falls through with SHOT. May overwrite registers 1 and 2.
pub(crate) fn emit_drop_test(asm: &mut Asm, go: Label) {
    let dropped = asm.label();
    asm.branch(opcode::JGT32, 8, go);
    asm.push(Insn::new(opcode::MOV32_IMM, 1, 0, 0, 1));
    asm.push(Insn::new(opcode::LSH32_REG, 1, 0, 0, 0));
    asm.branch_on(1, opcode::JSET32, ProceedMask::DROPPING, dropped);
    asm.jump(go);
    asm.bind(dropped);
    asm.set(0, TC_SHOT);
}

/// Jumps to `stop` unless `w0` is in the set; 32 bits, since the high half of -1 varies. May overwrite registers 1, 2.
pub(crate) fn emit_test(asm: &mut Asm, hook: SpliceHook, set: ProceedMask, stop: Label) {
    if set == ProceedMask::EVERYTHING {
        return;
    }
    let runs = set.runs(hook);
    let Some((&last, others)) = runs.split_last() else {
        asm.jump(stop);
        return;
    };
    let by_compare: usize = runs.iter().map(|run| compares(*run)).sum();
    let by_bits = if hook.first_code() == 0 { 5 } else { 7 };
    let go = asm.label();
    if by_compare < by_bits {
        for &(low, high) in others {
            if low == high {
                asm.branch(opcode::JEQ32, low, go);
            } else {
                if low > 0 {
                    // Runs ascend: codes below this one are in none.
                    asm.branch(opcode::JLT32, low, stop);
                }
                asm.branch(opcode::JLE32, high, go);
            }
        }
        let (low, high) = last;
        if low == high {
            asm.branch(opcode::JNE32, low, stop);
        } else {
            if low > 0 {
                asm.branch(opcode::JLT32, low, stop);
            }
            asm.branch(opcode::JGT32, high, stop);
        }
    } else {
        // A shift takes its count modulo 32, so codes without a bit are excluded first.
        let count = if hook.first_code() == 0 {
            asm.branch(opcode::JGT32, 31, stop);
            0
        } else {
            asm.push(Insn::new(opcode::MOV32_REG, 2, 0, 0, 0));
            asm.push(Insn::new(opcode::ADD32_IMM, 2, 0, 0, -hook.first_code()));
            asm.branch_on(2, opcode::JGT32, 31, stop);
            2
        };
        asm.push(Insn::new(opcode::MOV32_IMM, 1, 0, 0, set.0.cast_signed()));
        asm.push(Insn::new(opcode::RSH32_REG, 1, count, 0, 0));
        asm.branch_on(1, opcode::JSET32, 1, go);
        asm.jump(stop);
    }
    asm.bind(go);
}

fn compares((low, high): (u32, u32)) -> usize {
    if low == high || low == 0 { 1 } else { 2 }
}

//! Folding read-only data into one function.

use std::cell::Cell;
use std::ops::Range;

use bpfmand_core::{Insn, op};

use crate::specialise::ReadOnlyMap;
use crate::specialise::liveness::{Liveness, liveness};
use crate::specialise::ways::{InsnFacts, followed, successors};
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk, width};

/// A jump to the next instruction: the kernel removes it.
pub(super) const NOTHING: Insn = Insn::new(op::JA, 0, 0, 0, 0);

/// Each round takes out what the one before made needless, such as the outer of two questions. More are not worth it.
const ROUNDS: usize = 32;

/// Instructions that a jump is followed over to its target: those of a large function that is switched off.
const FARTHEST: usize = 1024;

/// Such instructions in all of a member: some hundredths of a second.
pub(super) const MOST_STEPS: u32 = 4_000_000;

/// A function of a member, and what is known of its data.
pub(super) struct FunctionFold<'a> {
    pub(super) range: Range<usize>,
    /// Ascending.
    pub(super) fixed: &'a [usize],
    pub(super) maps: &'a [ReadOnlyMap<'a>],
    /// What is left of [`MOST_STEPS`].
    pub(super) steps: &'a Cell<u32>,
}

impl FunctionFold<'_> {
    /// Folds what read-only maps hold into the function's instructions.
    pub(super) fn fold(&self, insns: &mut [Insn]) {
        let places = followed(insns, self.range.clone(), self.fixed, self.maps);
        let mut folded = false;
        for at in self.positions(insns) {
            if let Some(number) = places[at - self.range.start].loaded
                && let Some(constant) = constant(insns[at].dst(), number)
            {
                insns[at] = constant;
                folded = true;
            }
        }
        if !folded {
            return;
        }
        for at in self.positions(insns) {
            if let Some(number) = places[at - self.range.start].source()
                && let Some(shorter) = with_immediate(insns[at], number)
            {
                insns[at] = shorter;
            }
        }
        for round in 0..=ROUNDS {
            // Fewer instructions leave more known.
            let places = followed(insns, self.range.clone(), self.fixed, self.maps);
            // The last round takes out only what questions were asked for that the one before took out: a load from the
            // packet must not outlive the question whether the packet is as long.
            if !self.take_out(insns, &places, round < ROUNDS) {
                break;
            }
        }
    }

    /// Takes out what is needless; false if there was nothing.
    fn take_out(&self, insns: &mut [Insn], places: &[InsnFacts], jumps_too: bool) -> bool {
        let liveness = liveness(insns, &self.range, places);
        let of = |at: &usize| at - self.range.start;
        let mut taken = self.positions(insns);
        taken.retain(|at| liveness.needless[of(at)]);
        // In a round of its own: what makes one instruction a repetition must not be taken out for its sake, and what it wrote
        // is needed from earlier on, of which the jumps over it must know.
        let repetitions = taken.is_empty();
        if repetitions {
            taken = self.positions(insns);
            taken.retain(|at| {
                let place = places[of(at)];
                place.reached && sets(insns[*at]).is_some_and(|number| place.holds(number))
            });
        }
        for at in &taken {
            let slots = width(insns[*at]);
            insns[*at..at + slots].fill(NOTHING);
        }
        // From the last to the first: an inner question before the outer one.
        let jumps_too = jumps_too && (!repetitions || taken.is_empty());
        let jumps = if jumps_too { self.positions(insns) } else { Vec::new() };
        let mut jumped = false;
        for at in jumps.into_iter().rev() {
            if places[at - self.range.start].reached
                && self.leads_nowhere_else(insns, (places, &liveness), at)
            {
                insns[at] = NOTHING;
                jumped = true;
            }
        }
        jumped || !taken.is_empty()
    }

    /// Where instructions begin that may be changed.
    fn positions(&self, insns: &[Insn]) -> Vec<usize> {
        let all = walk(insns, self.range.clone()).map(|(at, _)| at);
        all.filter(|at| self.fixed.binary_search(at).is_err() && insns[*at] != NOTHING).collect()
    }

    /// True for a conditional jump whose target comes next whether it is taken or not: nothing in between is needed there.
    fn leads_nowhere_else(
        &self,
        insns: &[Insn],
        (places, liveness): (&[InsnFacts], &Liveness),
        at: usize,
    ) -> bool {
        let Effect::Jump { distance, conditional: true } = effect(insns[at], None) else { return false };
        let Some(wanted) = target(at, distance) else { return false };
        let mut here = at + 1;
        for _ in 0..FARTHEST.min(self.range.len()) {
            if here == wanted {
                return true;
            }
            // A tenant chooses how many jumps there are, and how far.
            let Some(left) = self.steps.get().checked_sub(1) else { return false };
            self.steps.set(left);
            if !self.range.contains(&here) {
                return false;
            }
            let behind = insns.get(here + 1).copied();
            let passes = match effect(insns[here], behind) {
                Effect::Jump { conditional, .. } => {
                    !conditional || places[here - self.range.start].decided.is_some()
                }
                _ => {
                    self.fixed.binary_search(&here).is_err()
                        && liveness.is_nothing_to(insns[here], behind, wanted - self.range.start)
                }
            };
            if !passes {
                return false;
            }
            let [Some(next), None] = successors(insns, &self.range, places, here) else { return false };
            here = next;
        }
        false
    }
}

/// The number that an instruction sets its register to, whatever it held.
fn sets(insn: Insn) -> Option<u64> {
    match (insn.code, insn.off) {
        (opcode::MOV64_IMM, 0) => Some(i64::from(insn.imm).cast_unsigned()),
        (opcode::MOV32_IMM, 0) => Some(u64::from(insn.imm.cast_unsigned())),
        _ => None,
    }
}

/// The same instruction with a number in the place of its source register, where there is one.
fn with_immediate(insn: Insn, number: u64) -> Option<Insn> {
    let operation = insn.code & 0xf0;
    let is_wide = match insn.class() {
        opcode::CLASS_ALU | opcode::CLASS_ALU64 => {
            // A move of a number is one already; divisions have a meaning by zero that immediates do not.
            let is_shift = matches!(operation, opcode::LSH | opcode::RSH | opcode::ARSH);
            let same = matches!(
                operation,
                opcode::ADD
                    | opcode::SUB
                    | opcode::MUL
                    | opcode::OR
                    | opcode::AND
                    | opcode::XOR
                    | opcode::MOV
            );
            if insn.off != 0 || !(same || is_shift && number < 32) {
                return None;
            }
            insn.class() == opcode::CLASS_ALU64
        }
        op::CLASS_JMP | op::CLASS_JMP32 => {
            if !matches!(effect(insn, None), Effect::Jump { conditional: true, .. }) {
                return None;
            }
            insn.class() == op::CLASS_JMP
        }
        _ => return None,
    };
    if insn.code & opcode::SOURCE_REGISTER == 0 {
        return None;
    }
    // Immediates are extended by their sign to 64 bits.
    let imm = if is_wide { i32::try_from(number.cast_signed()).ok()? } else { (number as u32).cast_signed() };
    Some(Insn::new(insn.code & !opcode::SOURCE_REGISTER, insn.dst(), 0, insn.off, imm))
}

/// One instruction that sets a register to a number, if there is one.
fn constant(register: u8, number: u64) -> Option<Insn> {
    if let Ok(short) = u32::try_from(number) {
        return Some(Insn::new(opcode::MOV32_IMM, register, 0, 0, short.cast_signed()));
    }
    let short = i32::try_from(number.cast_signed()).ok()?;
    Some(Insn::new(opcode::MOV64_IMM, register, 0, 0, short))
}

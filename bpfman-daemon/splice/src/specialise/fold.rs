use std::cell::Cell;
use std::ops::Range;

use bpfman_model::{Insn, op};

use crate::specialise::ReadOnlyMap;
use crate::specialise::liveness::{Liveness, liveness};
use crate::specialise::reachable::{InsnFacts, followed, successors};
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk, width};

/// A jump to the next instruction: the kernel removes it.
pub(super) const NOTHING: Insn = Insn::new(op::JA, 0, 0, 0, 0);

/// Maximum number of rounds: each removes instructions that the previous one made unused, and more gain little.
const ROUNDS: usize = 32;

/// Maximum distance of a jump that is examined, in instructions: enough for a large function that is switched off.
const FARTHEST: usize = 1024;

/// Maximum steps per member: a few hundredths of a second.
pub(super) const MAX_STEPS: u32 = 4_000_000;

pub(super) struct FunctionFold<'a> {
    pub(super) range: Range<usize>,
    /// Positions of instructions that stay, ascending.
    pub(super) fixed: &'a [usize],
    pub(super) maps: &'a [ReadOnlyMap<'a>],
    pub(super) steps: &'a Cell<u32>,
}

impl FunctionFold<'_> {
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
            let places = followed(insns, self.range.clone(), self.fixed, self.maps);
            // A load from the packet must not outlive its length check: the last round removes only computations.
            if !self.take_out(insns, &places, round < ROUNDS) {
                break;
            }
        }
    }

    /// Removes unneeded instructions; returns whether there were any.
    fn take_out(&self, insns: &mut [Insn], places: &[InsnFacts], jumps_too: bool) -> bool {
        let liveness = liveness(insns, &self.range, places);
        let of = |at: &usize| at - self.range.start;
        let mut taken = self.positions(insns);
        taken.retain(|at| liveness.needless[of(at)]);
        // Repeated writes have their own round: the first writes stay, and jumps must not skip them.
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
        // From the last to the first: an inner condition before the outer one.
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

    fn positions(&self, insns: &[Insn]) -> Vec<usize> {
        let all = walk(insns, self.range.clone()).map(|(at, _)| at);
        all.filter(|at| self.fixed.binary_search(at).is_err() && insns[*at] != NOTHING).collect()
    }

    /// Returns whether the jump has no effect: no instruction between it and its target is needed.
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
            // A tenant controls the number of jumps and their distances.
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

/// Returns the number that an instruction sets a register to, whatever its previous value.
fn sets(insn: Insn) -> Option<u64> {
    match (insn.code, insn.off) {
        (opcode::MOV64_IMM, 0) => Some(i64::from(insn.imm).cast_unsigned()),
        (opcode::MOV32_IMM, 0) => Some(u64::from(insn.imm.cast_unsigned())),
        _ => None,
    }
}

fn with_immediate(insn: Insn, number: u64) -> Option<Insn> {
    let operation = insn.code & 0xf0;
    let is_wide = match insn.class() {
        opcode::CLASS_ALU | opcode::CLASS_ALU64 => {
            // A move of a number is already immediate; division by zero has a meaning that immediates do not have.
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
    // Immediates are sign-extended to 64 bits.
    let imm = if is_wide { i32::try_from(number.cast_signed()).ok()? } else { (number as u32).cast_signed() };
    Some(Insn::new(insn.code & !opcode::SOURCE_REGISTER, insn.dst(), 0, insn.off, imm))
}

fn constant(register: u8, number: u64) -> Option<Insn> {
    if let Ok(short) = u32::try_from(number) {
        return Some(Insn::new(opcode::MOV32_IMM, register, 0, 0, short.cast_signed()));
    }
    let short = i32::try_from(number.cast_signed()).ok()?;
    Some(Insn::new(opcode::MOV64_IMM, register, 0, 0, short))
}

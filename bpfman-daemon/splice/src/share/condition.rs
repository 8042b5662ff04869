//! Conditions of jumps in one form, since compilers write the same condition in several ways.

use bpfman_model::{Insn, op};

use crate::share::expression::{END, ExpressionId, Expressions};
use crate::share::state::{EndBounds, PathFacts, Range, TrackedValue};
use crate::text::opcode;

/// The verifier learns nothing of longer packets.
const MAX_PACKET: i64 = 0xffff;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum JumpTest {
    /// The base plus this is beyond the end of the packet.
    Beyond {
        base: ExpressionId,
        by: i64,
    },
    /// The base plus this is the end of the packet, or beyond.
    Reaches {
        base: ExpressionId,
        by: i64,
    },
    Equal {
        number: ExpressionId,
        to: u64,
    },
    /// The number is above the limit, unsigned.
    Above {
        number: ExpressionId,
        limit: u64,
    },
}

impl JumpTest {
    /// Returns the test of a conditional jump, and whether it jumps if the test is true.
    pub(super) fn of(insn: Insn, state: &PathFacts, expressions: &Expressions) -> Option<(Self, bool)> {
        let known = |register: u8| match state.registers.get(usize::from(register)) {
            Some(TrackedValue::Known(id)) => Some(*id),
            _ => None,
        };
        let left = known(insn.dst())?;
        let by_register = insn.code & opcode::SOURCE_REGISTER != 0;
        let right = if by_register { Some(known(insn.src())?) } else { None };
        let operation = insn.code & 0xf0;
        let is_wide = insn.class() == op::CLASS_JMP;
        if let (Some(right), true) = (right, is_wide)
            && let Some(bound) = bound(operation, left, right, expressions)
        {
            return Some(bound);
        }
        let (left, right, operation) = match right {
            // A constant on the left.
            Some(right)
                if expressions.as_number(left).is_some() && expressions.as_number(right).is_none() =>
            {
                (right, Some(left), mirrored(operation)?)
            }
            right => (left, right, operation),
        };
        let right = match right {
            Some(right) => expressions.as_number(right)?,
            None => i64::from(insn.imm).cast_unsigned(),
        };
        let right = if is_wide { right } else { right & u64::from(u32::MAX) };
        comparison(operation, is_wide, left, right, expressions)
    }

    /// Returns the result of the test, if the facts decide it.
    pub(super) fn decide(self, state: &PathFacts, expressions: &Expressions) -> Option<bool> {
        let bounds = |base| state.bounds.get(&base).copied().unwrap_or(EndBounds::NONE);
        let range = |number: ExpressionId| match state.constant(number, expressions) {
            Some(constant) => Range { low: constant, high: constant, not: Default::default() },
            None => match state.ranges.get(&number) {
                Some(range) => range.clone(),
                None => Range::of_bits(expressions.bits(number)),
            },
        };
        match self {
            Self::Beyond { base, by } if by <= bounds(base).within => Some(false),
            Self::Beyond { base, by } if by >= bounds(base).beyond => Some(true),
            Self::Reaches { base, by } if by < bounds(base).within => Some(false),
            Self::Reaches { base, by } if by >= bounds(base).beyond.saturating_sub(1) => Some(true),
            Self::Beyond { .. } | Self::Reaches { .. } => None,
            Self::Equal { number, to } => {
                let range = range(number);
                if to < range.low || to > range.high || range.not.contains(&to) {
                    Some(false)
                } else if range.low == range.high {
                    Some(true)
                } else {
                    None
                }
            }
            Self::Above { number, limit } => {
                let range = range(number);
                if range.low > limit {
                    Some(true)
                } else if range.high <= limit {
                    Some(false)
                } else {
                    None
                }
            }
        }
    }

    pub(super) fn learn(self, holds: bool, state: &mut PathFacts, expressions: &Expressions) {
        match self {
            Self::Beyond { base, by } | Self::Reaches { base, by } => {
                // The verifier keeps these bounds only for bases in slots.
                if !state.saved.contains(&base) || !(0..=MAX_PACKET).contains(&by) {
                    return;
                }
                let bounds = state.bounds.entry(base).or_insert(EndBounds::NONE);
                if !holds {
                    bounds.within = bounds.within.max(by);
                } else if matches!(self, Self::Beyond { .. }) {
                    bounds.beyond = bounds.beyond.min(by);
                } else {
                    bounds.beyond = bounds.beyond.min(by + 1);
                }
            }
            Self::Equal { number, to } => {
                let range = range_of(number, state, expressions);
                if holds {
                    *range = Range { low: to, high: to, not: Default::default() };
                } else if to == range.low && range.low < range.high {
                    range.low += 1;
                } else if to == range.high && range.low < range.high {
                    range.high -= 1;
                } else if range.low < range.high {
                    range.not.insert(to);
                }
            }
            Self::Above { number, limit } => {
                let range = range_of(number, state, expressions);
                if holds {
                    range.low = range.low.max(limit.saturating_add(1)).min(range.high);
                } else {
                    range.high = range.high.min(limit).max(range.low);
                }
            }
        }
    }

    /// Returns the base or the number that is tested.
    pub(super) const fn subject(self) -> ExpressionId {
        match self {
            Self::Beyond { base, .. } | Self::Reaches { base, .. } => base,
            Self::Equal { number, .. } | Self::Above { number, .. } => number,
        }
    }
}

fn range_of<'a>(number: ExpressionId, state: &'a mut PathFacts, expressions: &Expressions) -> &'a mut Range {
    state.ranges.entry(number).or_insert_with(|| Range::of_bits(expressions.bits(number)))
}

/// Returns the comparison with its operands exchanged.
fn mirrored(operation: u8) -> Option<u8> {
    Some(match operation {
        opcode::JUMP_EQ | opcode::JUMP_NE => operation,
        opcode::JUMP_GT => opcode::JUMP_LT,
        opcode::JUMP_GE => opcode::JUMP_LE,
        opcode::JUMP_LT => opcode::JUMP_GT,
        opcode::JUMP_LE => opcode::JUMP_GE,
        opcode::JUMP_SGT => opcode::JUMP_SLT,
        opcode::JUMP_SGE => opcode::JUMP_SLE,
        opcode::JUMP_SLT => opcode::JUMP_SGT,
        opcode::JUMP_SLE => opcode::JUMP_SGE,
        _ => return None,
    })
}

/// Returns the test of a comparison of an address in the packet with the packet's end, if the verifier understands it.
fn bound(
    operation: u8,
    left: ExpressionId,
    right: ExpressionId,
    expressions: &Expressions,
) -> Option<(JumpTest, bool)> {
    let (address, operation) = match (left, right) {
        (address, END) => (address, operation),
        (END, address) => (address, mirrored(operation)?),
        _ => return None,
    };
    let (base, by) = expressions.as_address(address)?;
    match operation {
        opcode::JUMP_GT => Some((JumpTest::Beyond { base, by }, true)),
        opcode::JUMP_LE => Some((JumpTest::Beyond { base, by }, false)),
        opcode::JUMP_GE => Some((JumpTest::Reaches { base, by }, true)),
        opcode::JUMP_LT => Some((JumpTest::Reaches { base, by }, false)),
        _ => None,
    }
}

fn comparison(
    operation: u8,
    is_wide: bool,
    number: ExpressionId,
    right: u64,
    expressions: &Expressions,
) -> Option<(JumpTest, bool)> {
    let width = if is_wide { 64 } else { 32 };
    if !expressions.is_number(number) || expressions.bits(number) > width {
        return None;
    }
    let is_signed =
        matches!(operation, opcode::JUMP_SGT | opcode::JUMP_SGE | opcode::JUMP_SLT | opcode::JUMP_SLE);
    // Signed comparisons of numbers that are not negative equal unsigned ones.
    if is_signed && (expressions.bits(number) >= width || right >> (width - 1) != 0) {
        return None;
    }
    let above = |limit| JumpTest::Above { number, limit };
    let below = |than: u64| than.checked_sub(1).map(above);
    match operation {
        opcode::JUMP_EQ => Some((JumpTest::Equal { number, to: right }, true)),
        opcode::JUMP_NE => Some((JumpTest::Equal { number, to: right }, false)),
        opcode::JUMP_GT | opcode::JUMP_SGT => Some((above(right), true)),
        opcode::JUMP_LE | opcode::JUMP_SLE => Some((above(right), false)),
        opcode::JUMP_GE | opcode::JUMP_SGE => Some((below(right)?, true)),
        opcode::JUMP_LT | opcode::JUMP_SLT => Some((below(right)?, false)),
        _ => None,
    }
}

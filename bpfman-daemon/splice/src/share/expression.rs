//! Values as expressions over the packet. Equal ids are equal values, as long as the packet stays as it is.

use std::collections::BTreeMap;

use crate::text::opcode;

/// Bounds the memory of the pass.
const MAX_EXPRESSIONS: usize = 1 << 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExpressionId(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expression {
    Context,
    Number(u64),
    /// `data`.
    Start,
    /// `data_end`.
    End,
    /// An address in the packet: a base, which is [`Self::Start`] or [`Self::Moved`], and a constant.
    At {
        base: ExpressionId,
        by: i64,
    },
    /// A base and a number that is no constant.
    Moved {
        base: ExpressionId,
        by: ExpressionId,
    },
    /// Loaded from the packet by an instruction of this code.
    Loaded {
        code: u8,
        base: ExpressionId,
        by: i64,
    },
    /// Computed from numbers by an instruction of this code.
    Computed {
        code: u8,
        off: i16,
        imm: i32,
        left: ExpressionId,
        right: Option<ExpressionId>,
    },
}

#[derive(Clone, Copy)]
struct Known {
    expression: Expression,
    reads_packet: bool,
    /// The number has at most this many significant bits.
    bits: u32,
}

pub(super) struct Expressions {
    all: Vec<Known>,
    ids: BTreeMap<Expression, ExpressionId>,
}

pub(super) const CONTEXT: ExpressionId = ExpressionId(0);
pub(super) const START: ExpressionId = ExpressionId(1);
pub(super) const END: ExpressionId = ExpressionId(2);

impl Expressions {
    pub(super) fn new() -> Self {
        let mut expressions = Self { all: Vec::new(), ids: BTreeMap::new() };
        for fixed in [Expression::Context, Expression::Start, Expression::End] {
            expressions.id(fixed);
        }
        expressions
    }

    /// Returns whether there are too many expressions to continue.
    pub(super) fn are_too_many(&self) -> bool {
        self.all.len() > MAX_EXPRESSIONS
    }

    pub(super) fn id(&mut self, expression: Expression) -> ExpressionId {
        if let Some(id) = self.ids.get(&expression) {
            return *id;
        }
        let id = ExpressionId(self.all.len() as u32);
        let known = Known {
            expression,
            reads_packet: self.would_read_packet(expression),
            bits: self.bits_of(expression),
        };
        self.all.push(known);
        self.ids.insert(expression, id);
        id
    }

    pub(super) fn number(&mut self, number: u64) -> ExpressionId {
        self.id(Expression::Number(number))
    }

    pub(super) fn at(&mut self, base: ExpressionId, by: i64) -> ExpressionId {
        if by == 0 { base } else { self.id(Expression::At { base, by }) }
    }

    fn known(&self, id: ExpressionId) -> Known {
        self.all[id.0 as usize]
    }

    pub(super) fn as_number(&self, id: ExpressionId) -> Option<u64> {
        match self.known(id).expression {
            Expression::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Returns base and constant of an address in the packet.
    pub(super) fn as_address(&self, id: ExpressionId) -> Option<(ExpressionId, i64)> {
        match self.known(id).expression {
            Expression::Start | Expression::Moved { .. } => Some((id, 0)),
            Expression::At { base, by } => Some((base, by)),
            _ => None,
        }
    }

    /// Returns whether an expression is a number, and no address.
    pub(super) fn is_number(&self, id: ExpressionId) -> bool {
        matches!(
            self.known(id).expression,
            Expression::Number(_) | Expression::Loaded { .. } | Expression::Computed { .. }
        )
    }

    /// Returns whether an expression depends on bytes of the packet, not only on the packet's address.
    pub(super) fn reads_packet(&self, id: ExpressionId) -> bool {
        self.known(id).reads_packet
    }

    pub(super) fn bits(&self, id: ExpressionId) -> u32 {
        self.known(id).bits
    }

    fn would_read_packet(&self, expression: Expression) -> bool {
        match expression {
            Expression::Loaded { .. } => true,
            Expression::At { base, .. } => self.reads_packet(base),
            Expression::Moved { base, by } => self.reads_packet(base) || self.reads_packet(by),
            Expression::Computed { left, right, .. } => {
                self.reads_packet(left) || right.is_some_and(|right| self.reads_packet(right))
            }
            Expression::Context | Expression::Number(_) | Expression::Start | Expression::End => false,
        }
    }

    fn bits_of(&self, expression: Expression) -> u32 {
        match expression {
            Expression::Number(number) => 64 - number.leading_zeros(),
            Expression::Loaded { code, .. } if code & opcode::MODE == opcode::MODE_MEM => {
                match code & opcode::SIZE {
                    opcode::SIZE_B => 8,
                    opcode::SIZE_H => 16,
                    opcode::SIZE_W => 32,
                    _ => 64,
                }
            }
            Expression::Computed { code, off: 0, imm, left, right } => {
                let width = if code & 0x07 == opcode::CLASS_ALU { 32 } else { 64 };
                let left = self.bits(left);
                let right = match right {
                    Some(right) => self.bits(right),
                    None => 64 - i64::from(imm).cast_unsigned().leading_zeros(),
                };
                if code & 0xf0 == opcode::END {
                    return imm.unsigned_abs();
                }
                let shift = u32::try_from(imm).ok().filter(|_| code & opcode::SOURCE_REGISTER == 0);
                let bits = match (code & 0xf0, shift) {
                    (opcode::AND, _) => left.min(right),
                    (opcode::OR | opcode::XOR, _) => left.max(right),
                    (opcode::LSH, Some(shift)) if shift < width => left + shift,
                    (opcode::RSH, Some(shift)) if shift < width => left.min(width).saturating_sub(shift),
                    (opcode::MOV, _) => left,
                    _ => width,
                };
                bits.min(width)
            }
            _ => 64,
        }
    }
}

//! Values of both programs as hash-consed terms: equal ids are equal values.

use std::collections::HashMap;

use bpfman_model::op;

use crate::text::opcode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Term(u32);

pub(super) const CONTEXT: Term = Term(0);
pub(super) const START: Term = Term(1);
pub(super) const END: Term = Term(2);
pub(super) const FRAME: Term = Term(3);
/// The contents of the packet as they are now.
pub(super) const NOW: Term = Term(4);

const NUMBER: u16 = 0x100;
const SYMBOL: u16 = 0x200;
const SUM: u16 = 0x300;
const ROOM: u16 = 0x400;
const TEST: u16 = 0x500;
const FUNCTION: u16 = 0x600;
const CONSTANT: u16 = 0x700;
const MOV32: u8 = opcode::MOV | opcode::CLASS_ALU;
const ADD64: u8 = opcode::ADD | opcode::CLASS_ALU64;
const SUB64: u8 = opcode::SUB | opcode::CLASS_ALU64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    code: u16,
    left: Term,
    right: Term,
    by: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TermKind {
    Unknown,
    Number,
    Context,
    Packet,
    Elsewhere,
}

#[derive(Clone, Copy)]
pub(super) struct Traits {
    pub(super) kind: TermKind,
    pub(super) bits: u32,
    pub(super) reads_packet: bool,
    pub(super) is_placed: bool,
}

pub(super) struct Terms {
    all: Vec<(Node, Traits)>,
    ids: HashMap<Node, Term>,
}

impl Terms {
    pub(super) fn new() -> Self {
        let mut terms = Self { all: Vec::new(), ids: HashMap::new() };
        for kind in
            [TermKind::Context, TermKind::Packet, TermKind::Unknown, TermKind::Elsewhere, TermKind::Unknown]
        {
            let term = terms.symbol(kind);
            terms.all[term.0 as usize].1.is_placed = term == START || term == END;
        }
        terms
    }

    pub(super) fn traits(&self, term: Term) -> Traits {
        self.all[term.0 as usize].1
    }

    pub(super) fn as_number(&self, term: Term) -> Option<u64> {
        let node = self.all[term.0 as usize].0;
        (node.code == NUMBER).then_some(node.by.cast_unsigned())
    }

    pub(super) fn split(&self, term: Term) -> (Term, i64) {
        let node = self.all[term.0 as usize].0;
        if node.code == SUM { (node.left, node.by) } else { (term, 0) }
    }

    pub(super) fn symbol(&mut self, kind: TermKind) -> Term {
        let node = Node { code: SYMBOL, left: CONTEXT, right: CONTEXT, by: self.all.len() as i64 };
        self.insert(node, Traits { kind, bits: 64, reads_packet: false, is_placed: false })
    }

    pub(super) fn number(&mut self, number: u64) -> Term {
        let bits = 64 - number.leading_zeros();
        let traits = Traits { kind: TermKind::Number, bits, reads_packet: false, is_placed: false };
        let node = Node { code: NUMBER, left: CONTEXT, right: CONTEXT, by: number.cast_signed() };
        self.insert(node, traits)
    }

    pub(super) fn constant(&mut self, source: u8, number: Term) -> Term {
        let is_map = matches!(source, op::PSEUDO_MAP_FD | op::PSEUDO_MAP_VALUE);
        let kind = if is_map { TermKind::Elsewhere } else { TermKind::Unknown };
        self.node(CONSTANT | u16::from(source), number, number, 0, kind, 64)
    }

    pub(super) fn function(&mut self, start: usize) -> Term {
        self.node(FUNCTION, CONTEXT, CONTEXT, start as i64, TermKind::Unknown, 64)
    }

    pub(super) fn room(&mut self, base: Term) -> Term {
        self.node(ROOM, base, base, 0, TermKind::Number, 64)
    }

    pub(super) fn test(&mut self, code: u8, left: Term, right: Term) -> Term {
        self.node(TEST | u16::from(code), left, right, 0, TermKind::Number, 1)
    }

    /// Returns a loaded value. `time`: [`NOW`] for the packet, or the state of memory.
    pub(super) fn load(&mut self, code: u8, address: Term, time: Term) -> Term {
        let (base, by) = self.split(address);
        let is_word = matches!(code & opcode::SIZE, opcode::SIZE_W | opcode::SIZE_DW);
        let kind = match self.traits(address).kind {
            TermKind::Packet => TermKind::Number,
            TermKind::Elsewhere if code & opcode::SIZE != opcode::SIZE_DW => TermKind::Number,
            _ if is_word => TermKind::Unknown,
            _ => TermKind::Number,
        };
        let bits = match code & opcode::SIZE {
            _ if code & opcode::MODE != opcode::MODE_MEM => 64,
            opcode::SIZE_B => 8,
            opcode::SIZE_H => 16,
            opcode::SIZE_W => 32,
            _ => 64,
        };
        self.node(u16::from(code), base, time, by, kind, bits)
    }

    pub(super) fn sum(&mut self, term: Term, by: i64) -> Term {
        if let Some(number) = self.as_number(term) {
            return self.number(number.wrapping_add_signed(by));
        }
        let (base, before) = self.split(term);
        match before.wrapping_add(by) {
            0 => base,
            by => self.node(SUM, base, base, by, self.traits(base).kind, 64),
        }
    }

    pub(super) fn low_half(&mut self, term: Term) -> Term {
        self.computed(MOV32, 0, term, term)
    }

    /// Returns the result of an instruction; `by` is its offset, or the width of a byte swap.
    pub(super) fn computed(&mut self, code: u8, by: i64, left: Term, right: Term) -> Term {
        let (operation, is_wide) = (code & 0xf0, code & 7 == opcode::CLASS_ALU64);
        let code = if operation == opcode::END { code } else { code & !opcode::SOURCE_REGISTER };
        if operation == opcode::MOV {
            if let (Some(number), 0) = (self.as_number(right), by) {
                return self.number(if is_wide { number } else { number & u64::from(u32::MAX) });
            }
            return match self.traits(right).bits <= 32 || is_wide {
                true if by == 0 => right,
                _ => {
                    let kind = if by == 1 { TermKind::Unknown } else { TermKind::Number };
                    let bits = if is_wide { 64 } else { 32 };
                    self.node(u16::from(code), right, right, by, kind, bits)
                }
            };
        }
        if let (Some(left), Some(right), 0) = (self.as_number(left), self.as_number(right), by)
            && let Some(number) = folded(code, left, right)
        {
            return self.number(number);
        }
        let ((left_base, left_by), (right_base, right_by)) = (self.split(left), self.split(right));
        match (code, self.as_number(left), self.as_number(right)) {
            (ADD64, _, Some(number)) => self.sum(left, number.cast_signed()),
            (SUB64, _, Some(number)) => self.sum(left, number.cast_signed().wrapping_neg()),
            (ADD64, Some(number), _) => self.sum(right, number.cast_signed()),
            (ADD64, ..) => {
                let (one, other) = (left_base.min(right_base), left_base.max(right_base));
                let kind = match (self.traits(one).kind, self.traits(other).kind) {
                    (TermKind::Number, kind) | (kind, TermKind::Number) => kind,
                    _ => TermKind::Unknown,
                };
                let sum = self.node(u16::from(code), one, other, 0, kind, 64);
                self.sum(sum, left_by.wrapping_add(right_by))
            }
            (SUB64, ..) => {
                let both = (self.traits(left).kind, self.traits(right).kind);
                let kind = if both.1 == TermKind::Number { both.0 } else { TermKind::Unknown };
                let difference = self.node(u16::from(code), left_base, right_base, 0, kind, 64);
                self.sum(difference, left_by.wrapping_sub(right_by))
            }
            _ => {
                let bits = self.bits(code, by, left, right);
                self.node(u16::from(code), left, right, by, TermKind::Number, bits)
            }
        }
    }

    fn bits(&self, code: u8, by: i64, left: Term, right: Term) -> u32 {
        let width = if code & 7 == opcode::CLASS_ALU64 { 64 } else { 32 };
        let (low, high) = (self.traits(left).bits, self.traits(right).bits);
        let shift = self.as_number(right).and_then(|by| u32::try_from(by).ok()).filter(|by| *by < width);
        let bits = match (code & 0xf0, shift) {
            (opcode::END, _) => by as u32,
            (opcode::AND, _) => low.min(high),
            (opcode::OR | opcode::XOR, _) => low.max(high),
            (opcode::LSH, Some(shift)) => low + shift,
            (opcode::RSH, Some(shift)) => low.min(width).saturating_sub(shift),
            _ => width,
        };
        if code & 0xf0 == opcode::END { bits } else { bits.min(width) }
    }

    pub(super) fn replaced(&mut self, term: Term, with: &mut dyn FnMut(&mut Self, Term) -> Term) -> Term {
        let node = self.all[term.0 as usize].0;
        let Ok(code) = u8::try_from(node.code) else {
            let base = if node.code == SUM { with(self, node.left) } else { node.left };
            return if base == node.left { term } else { self.sum(base, node.by) };
        };
        let left = with(self, node.left);
        if code & 7 == opcode::CLASS_LDX {
            let address = self.sum(left, node.by);
            return if left == node.left { term } else { self.load(code, address, node.right) };
        }
        let right = with(self, node.right);
        if (left, right) == (node.left, node.right) {
            term
        } else {
            self.computed(code, node.by, left, right)
        }
    }

    fn node(&mut self, code: u16, left: Term, right: Term, by: i64, kind: TermKind, bits: u32) -> Term {
        let (one, other) = (self.traits(left), self.traits(right));
        let traits = Traits {
            kind,
            bits,
            reads_packet: one.reads_packet || other.reads_packet || right == NOW,
            is_placed: one.is_placed || other.is_placed,
        };
        self.insert(Node { code, left, right, by }, traits)
    }

    fn insert(&mut self, node: Node, traits: Traits) -> Term {
        *self.ids.entry(node).or_insert_with(|| {
            self.all.push((node, traits));
            Term(self.all.len() as u32 - 1)
        })
    }
}

fn folded(code: u8, left: u64, right: u64) -> Option<u64> {
    let is_wide = code & 7 == opcode::CLASS_ALU64;
    let low = |number: u64| if is_wide { number } else { number & u64::from(u32::MAX) };
    let (left, right) = (low(left), low(right));
    let shift = u32::try_from(right).ok().filter(|shift| *shift < if is_wide { 64 } else { 32 });
    let signed = if is_wide { left.cast_signed() } else { i64::from((left as u32).cast_signed()) };
    Some(low(match code & 0xf0 {
        opcode::ADD => left.wrapping_add(right),
        opcode::SUB => left.wrapping_sub(right),
        opcode::MUL => left.wrapping_mul(right),
        opcode::OR => left | right,
        opcode::AND => left & right,
        opcode::XOR => left ^ right,
        opcode::LSH => left << shift?,
        opcode::RSH => left >> shift?,
        opcode::ARSH => (signed >> shift?).cast_unsigned(),
        _ => return None,
    }))
}

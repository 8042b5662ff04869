//! Facts that hold on every path to an instruction. Invariant: an expression in a register or a fact has the value
//! that the same instructions would compute again here; a change of the packet removes the expressions that it touches.

use std::collections::{BTreeMap, BTreeSet};

use crate::share::expression::{CONTEXT, END, ExpressionId, Expressions};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TrackedValue {
    #[default]
    Unknown,
    Number,
    /// An address outside the packet, or null.
    Elsewhere,
    Known(ExpressionId),
}

impl TrackedValue {
    fn or(self, other: Self, expressions: &Expressions) -> Self {
        let is_number = |value| match value {
            Self::Number => true,
            Self::Known(id) => expressions.is_number(id),
            Self::Unknown | Self::Elsewhere => false,
        };
        if self == other {
            self
        } else if is_number(self) && is_number(other) {
            Self::Number
        } else {
            Self::Unknown
        }
    }
}

/// Values that an unsigned number can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) not: BTreeSet<u64>,
}

impl Range {
    pub(super) fn of_bits(bits: u32) -> Self {
        let high = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
        Self { low: 0, high, not: BTreeSet::new() }
    }

    fn or(&self, other: &Self) -> Self {
        let outside = |number: &u64, range: &Self| {
            range.not.contains(number) || *number < range.low || *number > range.high
        };
        let both = self.not.iter().chain(&other.not);
        let not = both.filter(|number| outside(number, self) && outside(number, other)).copied().collect();
        Self { low: self.low.min(other.low), high: self.high.max(other.high), not }
    }
}

/// Bounds of the packet's end relative to a base pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndBounds {
    /// Largest offset known to be within the packet: base + `within` ≤ end.
    pub(super) within: i64,
    /// Smallest offset known to be outside the packet: base + `beyond` > end.
    pub(super) beyond: i64,
}

impl EndBounds {
    pub(super) const NONE: Self = Self { within: -1, beyond: i64::MAX };
}

#[derive(Clone, Debug)]
pub(super) struct PathFacts {
    pub(super) registers: [TrackedValue; 11],
    /// The slot of the context.
    pub(super) slot: TrackedValue,
    pub(super) ranges: BTreeMap<ExpressionId, Range>,
    pub(super) bounds: BTreeMap<ExpressionId, EndBounds>,
    /// Bases in the reserved slots: the verifier keeps bounds only for these.
    pub(super) saved: BTreeSet<ExpressionId>,
}

impl PathFacts {
    pub(super) fn at_entry() -> Self {
        let mut registers = [TrackedValue::Unknown; 11];
        registers[1] = TrackedValue::Known(CONTEXT);
        registers[10] = TrackedValue::Elsewhere;
        Self::with(registers, TrackedValue::Unknown)
    }

    /// Returns the facts that hold at every instruction. `slot`: the context's slot, which is written only once.
    pub(super) fn of_nothing(slot: TrackedValue) -> Self {
        let mut registers = [TrackedValue::Unknown; 11];
        registers[10] = TrackedValue::Elsewhere;
        Self::with(registers, slot)
    }

    fn with(registers: [TrackedValue; 11], slot: TrackedValue) -> Self {
        let (ranges, bounds, saved) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { registers, slot, ranges, bounds, saved }
    }

    pub(super) fn join(&mut self, other: &Self, expressions: &Expressions) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers) {
            *mine = mine.or(theirs, expressions);
        }
        self.slot = self.slot.or(other.slot, expressions);
        self.saved.retain(|base| other.saved.contains(base));
        self.ranges.retain(|id, range| match other.ranges.get(id) {
            Some(theirs) => {
                *range = range.or(theirs);
                true
            }
            None => false,
        });
        let saved = &self.saved;
        self.bounds.retain(|base, bounds| match other.bounds.get(base) {
            Some(theirs) if saved.contains(base) => {
                bounds.within = bounds.within.min(theirs.within);
                bounds.beyond = bounds.beyond.max(theirs.beyond);
                true
            }
            _ => false,
        });
    }

    /// Removes facts after a write to the packet, whose address and length are unchanged.
    pub(super) fn packet_written(&mut self, expressions: &Expressions) {
        self.forget(expressions, |id| expressions.reads_packet(id));
    }

    /// Removes facts after a change of the packet's address or length.
    pub(super) fn packet_moved(&mut self, expressions: &Expressions) {
        self.forget(expressions, |id| {
            expressions.reads_packet(id) || id == END || expressions.as_address(id).is_some()
        });
    }

    fn forget(&mut self, expressions: &Expressions, is_gone: impl Fn(ExpressionId) -> bool) {
        for value in self.registers.iter_mut().chain([&mut self.slot]) {
            if let TrackedValue::Known(id) = *value
                && is_gone(id)
            {
                *value = if expressions.is_number(id) { TrackedValue::Number } else { TrackedValue::Unknown };
            }
        }
        self.ranges.retain(|id, _| !is_gone(*id));
        self.saved.retain(|id| !is_gone(*id));
        self.bounds.retain(|id, _| !is_gone(*id));
    }

    /// Returns the constant that a number must be, if the facts leave only one.
    pub(super) fn constant(&self, id: ExpressionId, expressions: &Expressions) -> Option<u64> {
        if let Some(number) = expressions.as_number(id) {
            return Some(number);
        }
        self.ranges.get(&id).filter(|range| range.low == range.high).map(|range| range.low)
    }
}

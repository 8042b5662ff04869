//! Numbers that a term can have on a path, by the branches that were taken.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpfman_model::{Insn, op};

use super::term::{END, Term, TermKind, Terms};
use crate::text::opcode;

/// Numbers as ranges, ascending, with both ends.
pub(super) type Set = Vec<(u64, u64)>;

/// Added to differences of addresses, so that no number is negative.
const BIAS: u64 = 1 << 63;

#[derive(Clone, Default)]
pub(super) struct KnownNumbers(BTreeMap<Term, Set>);

fn both(one: &Set, other: &Set) -> Set {
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a.0.max(b.0), a.1.min(b.1))));
    pairs.filter(|(from, to)| from <= to).collect()
}

fn complement(set: &Set) -> Set {
    let mut from = Some(0);
    let mut gaps = Set::new();
    for (first, last) in set {
        gaps.extend(from.zip(first.checked_sub(1)).filter(|(from, to)| from <= to));
        from = last.checked_add(1);
    }
    gaps.extend(from.map(|from| (from, u64::MAX)));
    gaps
}

fn either(one: &Set, other: &Set) -> Set {
    complement(&both(&complement(one), &complement(other)))
}

fn holding(operation: u8, constant: u64, bits: u32) -> Option<Set> {
    let top = 1_i128 << bits;
    let (low, high) = if is_signed(operation) { (-top / 2, top / 2 - 1) } else { (0, top - 1) };
    let constant = i128::from(constant);
    let constant = if constant > high { constant - top } else { constant };
    let (from, to) = match operation {
        opcode::JUMP_EQ | opcode::JUMP_NE => (constant, constant),
        opcode::JUMP_GT | opcode::JUMP_SGT => (constant + 1, high),
        opcode::JUMP_GE | opcode::JUMP_SGE => (constant, high),
        opcode::JUMP_LT | opcode::JUMP_SLT => (low, constant - 1),
        opcode::JUMP_LE | opcode::JUMP_SLE => (low, constant),
        _ => return None,
    };
    let ranges = [(from.max(0), to), (from + top, to.min(-1) + top)];
    let set = ranges.into_iter().filter(|(from, to)| from <= to).map(|(from, to)| (from as u64, to as u64));
    let set = set.collect();
    Some(if operation == opcode::JUMP_NE { complement(&set) } else { set })
}

fn is_signed(operation: u8) -> bool {
    matches!(operation, opcode::JUMP_SGT | opcode::JUMP_SGE | opcode::JUMP_SLT | opcode::JUMP_SLE)
}

fn mirrored(operation: u8) -> u8 {
    match operation {
        opcode::JUMP_GT => opcode::JUMP_LT,
        opcode::JUMP_GE => opcode::JUMP_LE,
        opcode::JUMP_LT => opcode::JUMP_GT,
        opcode::JUMP_LE => opcode::JUMP_GE,
        opcode::JUMP_SGT => opcode::JUMP_SLT,
        opcode::JUMP_SGE => opcode::JUMP_SLE,
        opcode::JUMP_SLT => opcode::JUMP_SGT,
        opcode::JUMP_SLE => opcode::JUMP_SGE,
        same => same,
    }
}

/// A term, and its numbers for which a jump is taken.
pub(super) type Test = (Term, Set);

pub(super) fn test(terms: &mut Terms, insn: Insn, left: Term, right: Term) -> Test {
    let operation = insn.code & 0xf0;
    let is_swapped = terms.as_number(left).is_some() || left == END;
    let (one, other, turned) =
        if is_swapped { (right, left, mirrored(operation)) } else { (left, right, operation) };
    let is_wide = insn.class() == op::CLASS_JMP;
    let set = match terms.as_number(other) {
        // Addresses of a verified program do not wrap: a shorter distance to the end is a smaller number.
        None if is_wide
            && other == END
            && terms.traits(one).kind == TermKind::Packet
            && !is_signed(turned) =>
        {
            let (base, by) = terms.split(one);
            holding(mirrored(turned), BIAS.wrapping_add_signed(by), 64).map(|set| (terms.room(base), set))
        }
        Some(number) if is_wide => holding(turned, number, 64).map(|set| (one, set)),
        Some(number) => {
            holding(turned, number & u64::from(u32::MAX), 32).map(|set| (terms.low_half(one), set))
        }
        None => None,
    };
    set.unwrap_or_else(|| (terms.test(insn.code & !opcode::SOURCE_REGISTER, left, right), vec![(1, 1)]))
}

impl KnownNumbers {
    fn numbers(&self, terms: &Terms, term: Term) -> Set {
        let of_bits = |bits: u32| vec![(0, if bits == 64 { u64::MAX } else { (1 << bits) - 1 })];
        match (terms.as_number(term), self.0.get(&term)) {
            (Some(number), _) => vec![(number, number)],
            (None, Some(set)) => set.clone(),
            (None, None) => of_bits(terms.traits(term).bits),
        }
    }

    pub(super) fn decide(&self, terms: &Terms, (term, set): &Test) -> Option<bool> {
        let numbers = self.numbers(terms, *term);
        match (both(&numbers, set).is_empty(), both(&numbers, &complement(set)).is_empty()) {
            (true, _) => Some(false),
            (_, true) => Some(true),
            _ => None,
        }
    }

    pub(super) fn learn(&mut self, terms: &Terms, (term, set): &Test, holds: bool) {
        let set = if holds { set.clone() } else { complement(set) };
        let numbers = both(&self.numbers(terms, *term), &set);
        self.0.insert(*term, numbers);
    }

    /// Returns a term in which each part of known value is replaced by its number.
    pub(super) fn resolved(&self, terms: &mut Terms, term: Term) -> Term {
        self.resolved_with(terms, term, &mut HashMap::new())
    }

    fn resolved_with(&self, terms: &mut Terms, term: Term, done: &mut HashMap<Term, Term>) -> Term {
        let known = |term: Term| match self.0.get(&term).map(Vec::as_slice) {
            Some([(from, to)]) if from == to => Some(*from),
            _ => None,
        };
        if let Some(number) = known(term) {
            return terms.number(number);
        }
        if let Some(resolved) = done.get(&term) {
            return *resolved;
        }
        let mut resolved = terms.replaced(term, &mut |terms, term| self.resolved_with(terms, term, done));
        if let Some(number) = known(resolved) {
            resolved = terms.number(number);
        }
        done.insert(term, resolved);
        resolved
    }

    pub(super) fn forget(&mut self, is_gone: impl Fn(Term) -> bool) {
        self.0.retain(|term, _| !is_gone(*term));
    }

    /// Joins the numbers of several paths: a term can have those of each.
    pub(super) fn of_any(terms: &mut Terms, all: &[&Self]) -> Self {
        let subjects: BTreeSet<Term> = all.iter().flat_map(|one| one.0.keys().copied()).collect();
        let mut joined = Self::default();
        for term in subjects {
            if let Some(set) = all[0].0.get(&term)
                && all.iter().all(|one| one.0.get(&term) == Some(set))
            {
                joined.0.insert(term, set.clone());
                continue;
            }
            let known = all
                .iter()
                .map(|one| (*one, if one.0.contains_key(&term) { term } else { one.resolved(terms, term) }));
            let known: Vec<(&Self, Term)> = known.collect();
            joined.one_of(terms, term, known);
        }
        joined
    }

    pub(super) fn one_of<'a>(
        &mut self,
        terms: &Terms,
        term: Term,
        values: impl IntoIterator<Item = (&'a Self, Term)>,
    ) {
        let values = values.into_iter().map(|(facts, value)| facts.numbers(terms, value));
        let numbers = values.fold(Set::new(), |all, numbers| either(&all, &numbers));
        if both(&self.numbers(terms, term), &complement(&numbers)) != Set::new() {
            self.0.insert(term, numbers);
        }
    }
}

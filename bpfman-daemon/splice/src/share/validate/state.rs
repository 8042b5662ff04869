//! Values of both programs at a pair of positions that both have reached.

use std::collections::HashMap;

use super::facts::{KnownNumbers, Test};
use super::term::{CONTEXT, FRAME, Term, TermKind, Terms};
use crate::text::opcode;

pub(super) const REGISTERS: usize = 11;
/// Index of the context's slot: both programs share it, as they share all memory.
pub(super) const SLOT: usize = 2 * REGISTERS;
/// Index of the state of memory: another term after each write.
pub(super) const TIME: usize = SLOT + 1;
pub(super) const RESERVED: usize = TIME + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProgramSide {
    Before,
    After,
}

#[derive(Clone)]
pub(super) struct JointState {
    /// Registers before the pass, registers after it, [`SLOT`], [`TIME`], and from [`RESERVED`] on the reserved slots.
    pub(super) values: Vec<Term>,
    pub(super) facts: KnownNumbers,
    pub(super) branch: usize,
    pub(super) last: usize,
}

pub(super) fn place(side: ProgramSide, register: u8) -> usize {
    usize::from(register).min(REGISTERS - 1) + if side == ProgramSide::Before { 0 } else { REGISTERS }
}

impl JointState {
    pub(super) fn at_entry(terms: &mut Terms, reserved: usize) -> Self {
        let mut values: Vec<Term> =
            (0..RESERVED + reserved).map(|_| terms.symbol(TermKind::Unknown)).collect();
        values.copy_within(..REGISTERS, REGISTERS);
        for side in [ProgramSide::Before, ProgramSide::After] {
            values[place(side, 1)] = CONTEXT;
            values[place(side, opcode::FRAME)] = FRAME;
        }
        Self { values, facts: KnownNumbers::default(), branch: 0, last: 0 }
    }

    /// Returns the state in a loop, where only equal registers and the context in its slot are known.
    pub(super) fn in_loop(terms: &mut Terms, equal: &[bool], reserved: usize, branch: usize) -> Self {
        let mut state = Self { branch, ..Self::at_entry(terms, reserved) };
        for (register, is_equal) in equal.iter().take(REGISTERS - 1).enumerate() {
            state.values[register] = terms.symbol(TermKind::Unknown);
            state.values[REGISTERS + register] =
                if *is_equal { state.values[register] } else { terms.symbol(TermKind::Unknown) };
        }
        if equal[REGISTERS] {
            state.values[SLOT] = CONTEXT;
        }
        state
    }

    pub(super) fn get(&self, side: ProgramSide, register: u8) -> Term {
        self.values[place(side, register)]
    }

    pub(super) fn set(&mut self, side: ProgramSide, register: u8, term: Term) {
        self.values[place(side, register)] = term;
    }

    pub(super) fn set_both(&mut self, register: u8, term: Term) {
        self.set(ProgramSide::Before, register, term);
        self.set(ProgramSide::After, register, term);
    }

    pub(super) fn is_same(&self, terms: &mut Terms, one: Term, other: Term) -> bool {
        one == other || self.facts.resolved(terms, one) == self.facts.resolved(terms, other)
    }

    /// Gives equal values in a register one term: the constant, if one is.
    pub(super) fn unify(&mut self, terms: &mut Terms, register: u8) {
        let (before, after) =
            (self.get(ProgramSide::Before, register), self.get(ProgramSide::After, register));
        if before != after && self.is_same(terms, before, after) {
            let is_constant = terms.as_number(after).is_some();
            self.set_both(register, if is_constant { after } else { before });
        }
    }

    pub(super) fn learn(&mut self, terms: &Terms, tests: &[Test; 2], holds: bool) {
        tests.iter().for_each(|test| self.facts.learn(terms, test, holds));
    }

    /// Forgets the packet's bytes, and where it lies if it may have moved.
    pub(super) fn change_packet(&mut self, terms: &mut Terms, moved: bool) {
        let mut names: HashMap<Term, Term> = HashMap::new();
        for at in 0..self.values.len() {
            let value = self.values[at];
            if is_stale(terms, value, moved) {
                let resolved = self.facts.resolved(terms, value);
                self.values[at] = match terms.as_number(resolved) {
                    Some(_) => resolved,
                    None => {
                        let kind = match terms.traits(value).kind {
                            TermKind::Number => TermKind::Number,
                            _ => TermKind::Unknown,
                        };
                        *names.entry(value).or_insert_with(|| terms.symbol(kind))
                    }
                };
            }
        }
        self.facts.forget(|term| is_stale(terms, term, moved));
    }

    pub(super) fn of_any(terms: &mut Terms, mut all: Vec<Self>) -> Self {
        if all.len() == 1 {
            return all.remove(0);
        }
        let facts: Vec<&KnownNumbers> = all.iter().map(|one| &one.facts).collect();
        let mut names: HashMap<Vec<Term>, Term> = HashMap::new();
        let mut joined = all[0].clone();
        joined.facts = KnownNumbers::of_any(terms, &facts);
        for at in 0..joined.values.len() {
            let values: Vec<Term> = all.iter().map(|one| one.values[at]).collect();
            let is_one = |terms: &[Term]| terms.iter().all(|term| *term == terms[0]);
            if is_one(&values) {
                continue;
            }
            let resolved: Vec<Term> =
                all.iter().map(|one| one.facts.resolved(terms, one.values[at])).collect();
            joined.values[at] = match is_one(&resolved) {
                true => resolved[0],
                false => *names.entry(values).or_insert_with_key(|values| {
                    let first = terms.traits(values[0]).kind;
                    let is_alike = values.iter().all(|value| terms.traits(*value).kind == first);
                    let term = terms.symbol(if is_alike { first } else { TermKind::Unknown });
                    joined.facts.one_of(terms, term, facts.iter().copied().zip(resolved));
                    term
                }),
            };
        }
        joined
    }
}

fn is_stale(terms: &Terms, term: Term, moved: bool) -> bool {
    let traits = terms.traits(term);
    traits.reads_packet || moved && traits.is_placed
}

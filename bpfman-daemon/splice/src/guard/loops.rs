//! Rounds of loops that the verifier processes once: callbacks of `bpf_loop` and `bpf_for_each_map_elem`, number
//! iterators, `may_goto`.
//!
//! A tenant's program runs in the path of others' packets and calls, uninterrupted: counts must be constants, and the
//! product along each nesting is bounded. Tail calls are not repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpfman_model::{Insn, ProgramText};

use super::allowed::{Calls, ForbiddenUse};
use super::constants::{Constant, RegisterConstants, at_calls};
use super::helper_costs::{HelperCosts, KERNEL_FUNCTION, MapBounds};
use super::loop_tree::{Iterators, LoopTree, Times, loop_tree};
use super::steps::{CountedFunction, CountedLoops, global_functions};
use crate::text::scan::{Effect, target, walk};

/// Maximum number of rounds of all loops of one nesting together: a few milliseconds.
pub const MAX_ROUNDS: u64 = 100_000;

/// Maximum number of functions, as in the kernel (`BPF_MAX_SUBPROGS`).
pub(super) const MAX_FUNCTIONS: usize = 256;

/// Maximum depth of calls: the kernel allows eight frames.
const MAX_NESTING: usize = 16;

#[derive(Debug)]
pub(super) struct CallSite {
    pub(super) at: usize,
    pub(super) rounds: Option<u64>,
    pub(super) callee: Option<usize>,
    pub(super) helper: Option<&'static str>,
}

/// Maximum rounds of any instruction of a function, or of its callees, in one call.
type Rounds = Result<u64, ForbiddenUse>;

struct LoopCount<'a, N, M> {
    text: &'a ProgramText,
    calls: &'a Calls<'a>,
    kernel_function: N,
    map: M,
    largest_value: u64,
    functions: BTreeMap<usize, CountedFunction>,
    known: BTreeMap<usize, u64>,
}

impl Calls<'_> {
    /// Returns the loops of a program, with constant rounds up to [`MAX_ROUNDS`]. `map` returns bounds by index.
    /// Granted helpers count as one round. Refuses tail calls that may be repeated.
    pub fn loops(
        &self,
        text: &ProgramText,
        kernel_function: impl Fn(&Insn) -> Option<String>,
        map: impl Fn(usize) -> Option<MapBounds>,
    ) -> Result<CountedLoops, ForbiddenUse> {
        if let Some(beyond) = text.functions.get(MAX_FUNCTIONS) {
            let what = format!("{} functions, more than {MAX_FUNCTIONS}", text.functions.len());
            return Err(self.forbidden(text, beyond.start, None, what));
        }
        let values = text.map_indexes().into_iter().filter_map(&map).map(|map| u64::from(map.value_size));
        let largest_value = values.max().unwrap_or(0);
        let (functions, known) = (BTreeMap::new(), BTreeMap::new());
        let mut count =
            LoopCount { text, calls: self, kernel_function, map, largest_value, functions, known };
        let global = global_functions(text);
        let mut has_tail_call = false;
        for function in &text.functions {
            let span = function.start..function.start + function.len;
            has_tail_call |= walk(&text.insns, span.clone()).any(|(_, effect)| is_tail_call(effect));
            let counted =
                CountedFunction { is_global: global.contains(&function.start), tree: count.tree(span)? };
            count.functions.insert(function.start, counted);
        }
        count.check_called_in_loops()?;
        let mut most = 1;
        for function in &text.functions {
            most = most.max(count.rounds_of(function.start, 0)?);
        }
        Ok(CountedLoops { functions: count.functions, rounds: most, has_tail_call })
    }
}

const IN_PLAIN_LOOP: &str = "an iterator or a callback in a loop that no iterator bounds";

impl<N: Fn(&Insn) -> Option<String>, M: Fn(usize) -> Option<MapBounds>> LoopCount<'_, N, M> {
    /// Refuses functions that iterate, themselves or by callees, in loops that no iterator bounds.
    fn check_called_in_loops(&self) -> Result<(), ForbiddenUse> {
        let mut callers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (start, function) in &self.functions {
            for callee in function.tree.all_calls().into_iter().filter_map(|call| call.callee) {
                callers.entry(callee).or_default().push(*start);
            }
        }
        let is_iterating = |(_, function): &(&usize, &CountedFunction)| function.tree.is_iterating();
        let mut new: Vec<usize> =
            self.functions.iter().filter(is_iterating).map(|(start, _)| *start).collect();
        let mut iterating = BTreeSet::new();
        while let Some(start) = new.pop() {
            if iterating.insert(start) {
                new.extend(callers.remove(&start).unwrap_or_default());
            }
        }
        let calls = self.functions.values().flat_map(|function| function.tree.walked_calls());
        let refused = calls
            .filter(|call| call.callee.is_some_and(|to| iterating.contains(&to)))
            .map(|call| call.at)
            .min();
        refused.map_or(Ok(()), |at| Err(self.refused(at, IN_PLAIN_LOOP)))
    }

    fn rounds_of(&mut self, start: usize, nesting: usize) -> Rounds {
        if let Some(known) = self.known.get(&start) {
            return Ok(*known);
        }
        if nesting > MAX_NESTING {
            let what = "functions that are nested too deep".to_owned();
            return Err(self.calls.forbidden(self.text, start, None, what));
        }
        let Some(function) = self.functions.remove(&start) else { return Ok(1) };
        let rounds = self.rounds_in(&function.tree, nesting);
        self.functions.insert(start, function);
        self.known.insert(start, rounds.clone()?);
        rounds
    }

    fn rounds_in(&mut self, tree: &LoopTree, nesting: usize) -> Rounds {
        let mut inside = 1;
        for call in &tree.calls {
            let called = call.callee.map_or(Ok(1), |callee| self.rounds_of(callee, nesting + 1))?;
            let rounds = call.rounds.and_then(|rounds| rounds.checked_mul(called));
            inside = inside.max(self.bounded(rounds, call.at, call.helper)?);
        }
        for part in &tree.inside {
            inside = inside.max(self.rounds_in(part, nesting)?);
        }
        match tree.times {
            Times::Once => Ok(inside),
            Times::Counted { begin, rounds } | Times::Walked { begin, iterated: rounds } => {
                self.bounded(inside.checked_mul(rounds), begin, Some(ITERATOR))
            }
        }
    }

    fn bounded(&self, rounds: Option<u64>, at: usize, helper: Option<&str>) -> Rounds {
        match rounds {
            Some(rounds) if rounds <= MAX_ROUNDS => Ok(rounds.max(1)),
            rounds => {
                let what = helper.unwrap_or("a loop");
                let what = match rounds {
                    Some(rounds) => format!(
                        "{what} for {rounds} rounds, those of loops in it included, which are more than {MAX_ROUNDS}"
                    ),
                    None => format!("{what} with a number of rounds that is no constant"),
                };
                Err(self.calls.forbidden(self.text, at, helper.map(str::to_owned), what))
            }
        }
    }

    fn tree(&self, function: Range<usize>) -> Result<LoopTree, ForbiddenUse> {
        let insns = &self.text.insns;
        let (mut calls, mut iterators) = (Vec::new(), Iterators::default());
        let registers = at_calls(insns, function.clone());
        let is_entry = self.text.functions.first().is_some_and(|entry| entry.start == function.start);
        let (mut tail_calls, mut costs) = (Vec::new(), BTreeMap::new());
        let helpers = HelperCosts { map: &self.map, largest_value: self.largest_value };
        for (at, effect) in walk(insns, function.clone()) {
            match effect {
                Effect::BoundedLoop { .. } => {
                    return Err(self.refused(at, "may_goto, whose number of rounds is no constant"));
                }
                Effect::LocalCall { distance } => {
                    calls.push(CallSite { at, rounds: Some(1), callee: target(at, distance), helper: None });
                }
                // After a tail call in a function, the caller continues, whichever program was called.
                effect if is_tail_call(effect) && !is_entry => {
                    return Err(self.refused(at, "a tail call but in the program's entry function"));
                }
                effect if is_tail_call(effect) => tail_calls.push(at),
                Effect::Helper(number) => {
                    let Some(registers) = registers.get(&at) else { continue };
                    let called = self.helper_loop(at, number, registers);
                    let visits = called.as_ref().filter(|_| number == FOR_EACH_MAP_ELEM);
                    let visits = HelperCosts::of_visits(visits.and_then(|call| call.rounds).unwrap_or(0));
                    costs.insert(at, helpers.of(number, registers).saturating_add(visits));
                    calls.extend(called);
                }
                Effect::Kfunc { .. } => {
                    let Some(registers) = registers.get(&at) else { continue };
                    if !self.iterator(at, registers, &mut iterators)? {
                        costs.insert(at, KERNEL_FUNCTION);
                    }
                }
                _ => {}
            }
        }
        let tree = loop_tree(insns, function, calls, &iterators, &costs)
            .map_err(|unbounded| self.refused(unbounded.at, IN_PLAIN_LOOP))?;
        match tail_calls.into_iter().find(|at| tree.repeats(*at)) {
            Some(at) => Err(self.refused(at, "a tail call in a loop")),
            None => Ok(tree),
        }
    }

    fn refused(&self, at: usize, what: &str) -> ForbiddenUse {
        self.calls.forbidden(self.text, at, None, what.to_owned())
    }

    /// The function that begins an iterator must be the one that runs its rounds.
    fn iterator(
        &self,
        at: usize,
        registers: &RegisterConstants,
        iterators: &mut Iterators,
    ) -> Result<bool, ForbiddenUse> {
        let name = (self.kernel_function)(&self.text.insns[at]);
        let is_new = name.as_deref() == Some(ITERATOR);
        if !is_new && name.as_deref() != Some(NEXT) || self.calls.is_granted(ITERATOR) {
            return Ok(false);
        }
        let Constant::Frame(place) = registers.get(1) else {
            let what = "an iterator that is no variable of the function which begins it".to_owned();
            return Err(self.calls.forbidden(self.text, at, Some(ITERATOR.to_owned()), what));
        };
        if is_new {
            let rounds = self.bounded(iterated(registers), at, Some(ITERATOR))?;
            iterators.begin(at, place, rounds);
        } else {
            iterators.ask(at, place);
        }
        Ok(true)
    }

    fn helper_loop(&self, at: usize, number: i32, registers: &RegisterConstants) -> Option<CallSite> {
        let (name, rounds) = match (number, registers.get(1)) {
            (LOOP, Constant::Number(rounds)) => ("bpf_loop", Some(u64::from(rounds as u32))),
            (LOOP, _) => ("bpf_loop", None),
            (FOR_EACH_MAP_ELEM, Constant::Map(index)) => {
                ("bpf_for_each_map_elem", (self.map)(index).and_then(|map| map.entries).map(u64::from))
            }
            (FOR_EACH_MAP_ELEM, _) => ("bpf_for_each_map_elem", None),
            _ => return None,
        };
        let callee = match registers.get(2) {
            Constant::Function(start) => Some(start),
            _ => None,
        };
        let rounds = if self.calls.is_granted(name) { Some(1) } else { rounds.filter(|_| callee.is_some()) };
        Some(CallSite { at, rounds, callee, helper: Some(name) })
    }
}

const LOOP: i32 = 181;
const FOR_EACH_MAP_ELEM: i32 = 164;
const ITERATOR: &str = "bpf_iter_num_new";
const NEXT: &str = "bpf_iter_num_next";
const TAIL_CALL: i32 = 12;

const fn is_tail_call(effect: Effect) -> bool {
    matches!(effect, Effect::Helper(TAIL_CALL))
}

/// Returns the number of rounds of a numeric iterator: from the second argument up to the third, exclusive.
fn iterated(registers: &RegisterConstants) -> Option<u64> {
    match (registers.get(2), registers.get(3)) {
        (Constant::Number(start), Constant::Number(end)) => {
            let [start, end] = [start, end].map(|number| i64::from((number as u32).cast_signed()));
            Some(u64::try_from(end - start).unwrap_or(0))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "loops_tests.rs"]
pub(super) mod tests;

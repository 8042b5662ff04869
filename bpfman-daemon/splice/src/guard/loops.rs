//! Rounds of loops whose body the verifier processes only once: callbacks of `bpf_loop` and `bpf_for_each_map_elem`,
//! number iterators, `may_goto`.
//!
//! A tenant's program runs in the path of others' packets and calls, and cannot be interrupted. So the counts of its
//! loops must be constants, and the product along each nesting is bounded.

use std::collections::BTreeMap;
use std::ops::Range;

use bpfmand_core::{Insn, ProgramText};

use super::allowed::{Calls, ForbiddenUse};
use super::constants::{Constant, RegisterConstants, at_calls};
use crate::text::scan::{Effect, target, walk};

/// Maximum number of rounds of all loops of one nesting together: a few milliseconds.
pub const MAX_ROUNDS: u64 = 100_000;

/// Maximum nesting of calls of one function. The kernel allows eight frames.
const MAX_NESTING: usize = 16;

/// A call, and the number of its rounds.
struct CallSite {
    at: usize,
    rounds: Option<u64>,
    callee: Option<usize>,
    /// Name of the helper; none for a function of the program.
    helper: Option<&'static str>,
}

/// Calls and iterators of one function.
#[derive(Default)]
struct FunctionLoops {
    calls: Vec<CallSite>,
    /// Call that begins an iterator, and the product of iterators that may be nested.
    iterators: Option<(usize, u64)>,
}

/// Result for a function: the maximum number of rounds that an instruction of it, or of a function that it calls, makes
/// in one call.
type Rounds = Result<u64, ForbiddenUse>;

/// A program whose loops are counted.
struct LoopCount<'a, N, M> {
    text: &'a ProgramText,
    calls: &'a Calls<'a>,
    kernel_function: N,
    map_entries: M,
    known: BTreeMap<usize, u64>,
}

impl Calls<'_> {
    /// Returns the maximum number of rounds that an instruction of the program makes in one run. `map_entries` returns
    /// the maximum number of entries of the map at an index. Loops by helpers that root granted count as one round.
    ///
    /// # Errors
    /// The first loop whose count is no constant, or that makes more than [`MAX_ROUNDS`].
    pub fn rounds(
        &self,
        text: &ProgramText,
        kernel_function: impl Fn(&Insn) -> Option<String>,
        map_entries: impl Fn(usize) -> Option<u32>,
    ) -> Result<u64, ForbiddenUse> {
        let known = BTreeMap::new();
        let mut count = LoopCount { text, calls: self, kernel_function, map_entries, known };
        let mut most = 1;
        for function in &text.functions {
            most = most.max(count.rounds_of(function.start, 0)?);
        }
        Ok(most)
    }
}

impl<N: Fn(&Insn) -> Option<String>, M: Fn(usize) -> Option<u32>> LoopCount<'_, N, M> {
    fn rounds_of(&mut self, start: usize, nesting: usize) -> Rounds {
        if let Some(known) = self.known.get(&start) {
            return Ok(*known);
        }
        if nesting > MAX_NESTING {
            return Err(self.calls.forbidden(
                self.text,
                start,
                None,
                "functions that are nested too deep".to_owned(),
            ));
        }
        let function = self.text.functions.iter().find(|function| function.start == start);
        let Some(function) = function else { return Ok(1) };
        let found = self.loops(function.start..function.start + function.len)?;
        let mut inside = 1;
        for call in &found.calls {
            let called = call.callee.map_or(Ok(1), |callee| self.rounds_of(callee, nesting + 1))?;
            let rounds = call.rounds.and_then(|rounds| rounds.checked_mul(called));
            inside = inside.max(self.bounded(rounds, call.at, call.helper)?);
        }
        let rounds = match found.iterators {
            Some((at, iterated)) => self.bounded(inside.checked_mul(iterated), at, Some(ITERATOR))?,
            None => inside,
        };
        self.known.insert(start, rounds);
        Ok(rounds)
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

    /// Returns the loops and calls of one function.
    fn loops(&self, function: Range<usize>) -> Result<FunctionLoops, ForbiddenUse> {
        let insns = &self.text.insns;
        let mut found = FunctionLoops::default();
        let (mut longest, mut nested) = (1_u64, 1_u64);
        let (start, repeated) = (function.start, repeated(insns, function.clone()));
        let registers = at_calls(insns, function.clone());
        for (at, effect) in walk(insns, function) {
            match effect {
                Effect::BoundedLoop { .. } => {
                    let what = "may_goto, whose number of rounds is no constant".to_owned();
                    return Err(self.calls.forbidden(self.text, at, None, what));
                }
                Effect::LocalCall { distance } => found.calls.push(CallSite {
                    at,
                    rounds: Some(1),
                    callee: target(at, distance),
                    helper: None,
                }),
                Effect::Helper(number) => {
                    let Some(registers) = registers.get(&at) else { continue };
                    found.calls.extend(self.helper_loop(at, number, registers));
                }
                Effect::Kfunc { .. } if self.is_new_iterator(&insns[at]) => {
                    let Some(registers) = registers.get(&at) else { continue };
                    let rounds = self.bounded(iterated(registers), at, Some(ITERATOR))?;
                    // In a loop, it may be nested in another iterator's loop.
                    if repeated[at - start] {
                        nested = nested.saturating_mul(rounds);
                    } else {
                        longest = longest.max(rounds);
                    }
                    let all = longest.saturating_mul(nested);
                    found.iterators = Some((found.iterators.map_or(at, |(first, _)| first), all));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn is_new_iterator(&self, call: &Insn) -> bool {
        (self.kernel_function)(call).is_some_and(|name| name == ITERATOR) && !self.calls.is_granted(ITERATOR)
    }

    /// Returns the call of a helper that calls a function of the program repeatedly.
    fn helper_loop(&self, at: usize, number: i32, registers: &RegisterConstants) -> Option<CallSite> {
        let (name, rounds) = match (number, registers.get(1)) {
            (LOOP, Constant::Number(rounds)) => ("bpf_loop", Some(u64::from(rounds as u32))),
            (LOOP, _) => ("bpf_loop", None),
            (FOR_EACH_MAP_ELEM, Constant::Map(index)) => {
                ("bpf_for_each_map_elem", (self.map_entries)(index).map(u64::from))
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

/// `bpf_loop` and `bpf_for_each_map_elem`.
const LOOP: i32 = 181;
const FOR_EACH_MAP_ELEM: i32 = 164;
/// Begins an iterator over numbers.
const ITERATOR: &str = "bpf_iter_num_new";

/// Returns the rounds of an iterator from the second argument up to the third, exclusive.
fn iterated(registers: &RegisterConstants) -> Option<u64> {
    match (registers.get(2), registers.get(3)) {
        (Constant::Number(start), Constant::Number(end)) => {
            let [start, end] = [start, end].map(|number| i64::from((number as u32).cast_signed()));
            Some(u64::try_from(end - start).unwrap_or(0))
        }
        _ => None,
    }
}

/// Returns for each instruction, counted from the function's start, whether it is between a backward jump and its
/// target. Every instruction in a cycle is.
fn repeated(insns: &[Insn], function: Range<usize>) -> Vec<bool> {
    let (start, len) = (function.start, function.len());
    let mut begun = vec![0_i64; len + 1];
    for (at, effect) in walk(insns, function) {
        match effect {
            Effect::Jump { distance, .. } => {
                if let Some(to) = target(at, distance).filter(|to| (start..=at).contains(to)) {
                    begun[to - start] += 1;
                    begun[at - start + 1] -= 1;
                }
            }
            Effect::IndirectJump => return vec![true; len],
            _ => {}
        }
    }
    let mut open = 0;
    begun[..len]
        .iter()
        .map(|change| {
            open += change;
            open > 0
        })
        .collect()
}

#[cfg(test)]
#[path = "loops_tests.rs"]
mod tests;

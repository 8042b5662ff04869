//! Instructions that one run may take: from counted loops, and from what the verifier walked through.
//!
//! The verifier walks through each round of plain loops, but once through counted loops' bodies and global functions. A
//! call of the kernel counts as many instructions as its time.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::ProgramText;

use super::loop_tree::{LoopTree, Times};
use super::loops::CallSite;
use crate::text::btf_records::{self as records, WordType};

#[derive(Debug)]
pub(super) struct CountedFunction {
    /// Verified once, separately.
    pub(super) is_global: bool,
    pub(super) tree: LoopTree,
}

/// The loops of a program, by function.
#[derive(Debug)]
pub struct CountedLoops {
    pub(super) functions: BTreeMap<usize, CountedFunction>,
    pub(super) rounds: u64,
    pub(super) has_tail_call: bool,
}

impl CountedLoops {
    /// Returns the maximum rounds of nested loops that the verifier does not walk through.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Returns whether the program may tail-call another one.
    #[must_use]
    pub const fn has_tail_call(&self) -> bool {
        self.has_tail_call
    }

    /// Returns the maximum instructions of one run, with kernel calls converted by their time. `verified` is the number
    /// of instructions that the verifier walked through.
    #[must_use]
    pub fn steps(&self, verified: u32) -> u64 {
        let mut count = StepCount { loops: self, verified: verified.into(), known: BTreeMap::new() };
        self.functions.keys().next().map_or(0, |entry| count.of(*entry).steps)
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    /// Instructions, with those of callees.
    steps: u64,
    /// Instructions per verified one.
    weight: u64,
}

struct StepCount<'a> {
    loops: &'a CountedLoops,
    verified: u64,
    known: BTreeMap<usize, Bounds>,
}

impl StepCount<'_> {
    /// Calls have no cycles: that was checked when rounds were counted.
    fn of(&mut self, start: usize) -> Bounds {
        if let Some(known) = self.known.get(&start) {
            return *known;
        }
        let Some(function) = self.loops.functions.get(&start) else { return Bounds { steps: 1, weight: 1 } };
        let tree = self.tree(&function.tree);
        let steps = tree.steps.min(self.verified.saturating_mul(tree.weight));
        // The verifier checks a global function separately, not at each of its callers.
        let bounds = Bounds { steps, weight: if function.is_global { steps } else { tree.weight } };
        self.known.insert(start, bounds);
        bounds
    }

    fn tree(&mut self, tree: &LoopTree) -> Bounds {
        let mut once = Bounds { steps: tree.cost, weight: tree.longest };
        let calls: Vec<Bounds> = tree.calls.iter().map(|call| self.call(call)).collect();
        let inside: Vec<Bounds> = tree.inside.iter().map(|part| self.tree(part)).collect();
        for part in calls.into_iter().chain(inside) {
            once.steps = once.steps.saturating_add(part.steps);
            once.weight = once.weight.max(part.weight);
        }
        match tree.times {
            Times::Once => once,
            Times::Counted { rounds, .. } => once.times(rounds.saturating_add(1)),
            Times::Walked { iterated, .. } => {
                // Leaving an iterator's loop counts as one more.
                let weight =
                    once.weight.saturating_mul(if iterated > 1 { iterated.saturating_add(1) } else { 1 });
                Bounds { steps: self.verified.saturating_mul(weight), weight }
            }
        }
    }

    fn call(&mut self, call: &CallSite) -> Bounds {
        let called = call.callee.map_or(Bounds { steps: 1, weight: 1 }, |callee| self.of(callee));
        called.times(call.rounds.unwrap_or(u64::MAX))
    }
}

impl Bounds {
    const fn times(self, rounds: u64) -> Self {
        let rounds = if rounds == 0 { 1 } else { rounds };
        Self { steps: self.steps.saturating_mul(rounds), weight: self.weight.saturating_mul(rounds) }
    }
}

pub(super) fn global_functions(text: &ProgramText) -> BTreeSet<usize> {
    let Some(btf) = &text.btf else { return BTreeSet::new() };
    let linkages = linkages(btf);
    // A function of unknown type counts as global, the worse case.
    let is_static = |id: u32| linkages.get(&id) == Some(&STATIC);
    let mut found = BTreeMap::new();
    for info in &text.func_info {
        found.entry(info.insn_off as usize).or_insert(!is_static(info.type_id));
    }
    found.into_iter().filter(|(_, is_global)| *is_global).map(|(start, _)| start).collect()
}

/// Linkage of a static function, which BTF stores in the field for a length.
const STATIC: u32 = 0;

fn linkages(btf: &[u8]) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    let Ok(sections) = records::sections(btf) else { return found };
    let mut at = 0;
    for id in 1.. {
        let Some(word) = records::word_at(sections.types, at + 4) else { break };
        let (kind, vlen) = (word >> 24 & 0x1f, word & 0xffff);
        let Some((_, once, each)): Option<(WordType, _, _)> = records::shape(kind) else { break };
        let entries = if kind == records::FUNC { 0 } else { vlen as usize };
        if kind == records::FUNC {
            found.insert(id, vlen);
        }
        at += (3 + once.len() + entries * each.len()) * 4;
    }
    found
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;

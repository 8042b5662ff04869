//! Loops of one function as a tree: which instructions and calls each repeats, and what bounds its rounds.
//!
//! A loop is a strongly connected component of the function's jumps. One that only goes round behind a call of
//! `bpf_iter_num_next` which found a number makes as many rounds as the iterator has numbers. The verifier walks through the
//! rounds of all others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpfmand_core::Insn;

use super::loops::CallSite;
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk, width};

/// Iterators that loops may be nested in. The kernel's stack has room for more, and no use.
const MAX_NESTING: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The function itself: no loop.
    Once,
    /// At most one for each number of the iterator that begins at an instruction, and one more.
    Counted { begin: usize, rounds: u64 },
    /// Unknown here: the verifier walked through each round, but for the rounds of iterators in it.
    Walked { begin: usize, iterated: u64 },
}

/// A loop, or a whole function.
#[derive(Debug)]
pub(super) struct LoopTree {
    pub(super) times: Times,
    /// Instructions outside of the loops inside.
    pub(super) insns: u64,
    /// Calls outside of the loops inside.
    pub(super) calls: Vec<CallSite>,
    pub(super) inside: Vec<Self>,
    /// All instructions of the loops inside.
    repeated: BTreeSet<usize>,
}

impl LoopTree {
    fn new(times: Times, insns: usize) -> Self {
        let (calls, inside, repeated) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { times, insns: insns as u64, calls, inside, repeated }
    }

    /// Calls of functions and of helpers that call back, in loops too.
    pub(super) fn all_calls(&self) -> Vec<&CallSite> {
        self.calls.iter().chain(self.inside.iter().flat_map(|part| part.all_calls())).collect()
    }

    /// Calls of functions in loops that the verifier walks through.
    pub(super) fn walked_calls(&self) -> Vec<&CallSite> {
        let is_walked = matches!(self.times, Times::Walked { .. });
        let own = self.calls.iter().filter(|_| is_walked);
        own.chain(self.inside.iter().flat_map(|part| part.walked_calls())).collect()
    }

    /// Returns whether a function asks an iterator, or has a helper call back, outside of what it calls.
    pub(super) fn is_iterating(&self) -> bool {
        matches!(self.times, Times::Counted { .. })
            || self.calls.iter().any(|call| call.helper.is_some())
            || self.inside.iter().any(Self::is_iterating)
    }

    /// Returns whether a loop of this function repeats an instruction.
    pub(super) fn repeats(&self, at: usize) -> bool {
        self.repeated.contains(&at)
    }
}

/// Calls of iterators in one function, by place in its stack frame.
#[derive(Debug, Default)]
pub(super) struct Iterators {
    /// Instruction, place, rounds.
    pub(super) begun: Vec<(usize, i32, u64)>,
    /// Instruction, place.
    pub(super) asked: Vec<(usize, i32)>,
}

/// A loop of which nothing here bounds the rounds, and which the verifier does not walk through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbounded {
    /// Call in the loop that makes it so.
    pub(super) at: usize,
}

/// Jumps of one function.
struct Graph<'a> {
    insns: &'a [Insn],
    function: Range<usize>,
    iterators: &'a Iterators,
    /// Stack slots of iterators, by the test of the call's result and the instruction that runs if there is a number.
    found: BTreeMap<(usize, usize), i32>,
}

pub(super) fn loop_tree(
    insns: &[Insn],
    function: Range<usize>,
    mut calls: Vec<CallSite>,
    iterators: &Iterators,
) -> Result<LoopTree, Unbounded> {
    let nodes: BTreeSet<usize> = walk(insns, function.clone()).map(|(at, _)| at).collect();
    let is_followed = nodes.iter().all(|at| !matches!(effect_at(insns, *at), Effect::IndirectJump));
    let found = found_edges(insns, function.clone(), iterators);
    let graph = Graph { insns, function, iterators, found };
    if !is_followed {
        // Any instruction may lead to any other.
        graph.check_walked(&nodes, &calls)?;
        let times = graph.walked(&nodes);
        return Ok(LoopTree { calls, repeated: nodes.clone(), ..LoopTree::new(times, nodes.len()) });
    }
    graph.tree(Times::Once, &nodes, &mut calls, &mut BTreeSet::new())
}

fn effect_at(insns: &[Insn], at: usize) -> Effect {
    effect(insns[at], insns.get(at + 1).copied())
}

/// Jumps by which a loop goes on with the number that it got. The test has to follow the call, and nothing may jump to it.
fn found_edges(
    insns: &[Insn],
    function: Range<usize>,
    iterators: &Iterators,
) -> BTreeMap<(usize, usize), i32> {
    let jumped_to: BTreeSet<usize> = walk(insns, function.clone())
        .filter_map(|(at, effect)| match effect {
            Effect::Jump { distance, .. } | Effect::BoundedLoop { distance } => target(at, distance),
            _ => None,
        })
        .collect();
    let edge = |(at, place): &(usize, i32)| {
        let test = at + 1;
        let insn = insns.get(test).filter(|_| function.contains(&test) && !jumped_to.contains(&test))?;
        let Effect::Jump { distance, conditional: true } = effect_at(insns, test) else { return None };
        let is_null_test = insn.dst() == 0 && insn.imm == 0;
        let (taken, passed) = (target(test, distance)?, test + 1);
        // Both ways may lead to one place.
        match insn.code {
            _ if !is_null_test || taken == passed => None,
            opcode::JEQ64 => Some(((test, passed), *place)),
            opcode::JNE64 => Some(((test, taken), *place)),
            _ => None,
        }
    };
    iterators.asked.iter().filter_map(edge).collect()
}

impl Graph<'_> {
    fn successors(&self, at: usize) -> [Option<usize>; 2] {
        let next = at + width(self.insns[at]);
        match effect_at(self.insns, at) {
            Effect::Exit => [None, None],
            Effect::Jump { distance, conditional } => [conditional.then_some(next), target(at, distance)],
            Effect::BoundedLoop { distance } => [Some(next), target(at, distance)],
            _ => [Some(next), None],
        }
        .map(|to| to.filter(|to| self.function.contains(to)))
    }

    /// Loops among `nodes`, without the jumps behind the calls for the iterators in `ended`.
    fn tree(
        &self,
        times: Times,
        nodes: &BTreeSet<usize>,
        calls: &mut Vec<CallSite>,
        ended: &mut BTreeSet<i32>,
    ) -> Result<LoopTree, Unbounded> {
        let mut tree = LoopTree::new(times, nodes.len());
        for part in self.components(nodes, ended) {
            tree.insns -= part.len() as u64;
            tree.repeated.extend(&part);
            let mut within: Vec<CallSite> = calls.extract_if(.., |call| part.contains(&call.at)).collect();
            let (begin, place, rounds) = match self.bound(&part, ended) {
                Some(bound) if ended.len() < MAX_NESTING => bound,
                _ => {
                    self.check_walked(&part, &within)?;
                    let calls = within;
                    tree.inside.push(LoopTree { calls, ..LoopTree::new(self.walked(&part), part.len()) });
                    continue;
                }
            };
            ended.insert(place);
            tree.inside.push(self.tree(Times::Counted { begin, rounds }, &part, &mut within, ended)?);
            ended.remove(&place);
        }
        tree.calls.append(calls);
        Ok(tree)
    }

    /// Returns the iterator that bounds a loop: its next-call is inside of the loop, its new-call outside.
    fn bound(&self, part: &BTreeSet<usize>, ended: &BTreeSet<i32>) -> Option<(usize, i32, u64)> {
        let places = self.found.iter().filter(|((test, _), _)| part.contains(test)).map(|(_, place)| *place);
        let begun_in =
            |place| self.iterators.begun.iter().any(|(at, begun, _)| *begun == place && part.contains(at));
        let mut bounds = places.filter(|place| !ended.contains(place) && !begun_in(*place));
        bounds.find_map(|place| {
            let begun = self.iterators.begun.iter().filter(|(_, begun, _)| *begun == place);
            begun.copied().max_by_key(|(_, _, rounds)| *rounds)
        })
    }

    /// Refuses a loop that no iterator of this function bounds, and in which the program asks an iterator or has a helper call
    /// back. There the verifier takes a round for the same as one before, and does not walk through all: such a loop need not end.
    fn check_walked(&self, part: &BTreeSet<usize>, calls: &[CallSite]) -> Result<(), Unbounded> {
        let asked = self.iterators.asked.iter().map(|(at, _)| *at).filter(|at| part.contains(at));
        let called_back = calls.iter().filter(|call| call.helper.is_some()).map(|call| call.at);
        asked.chain(called_back).min().map_or(Ok(()), |at| Err(Unbounded { at }))
    }

    fn walked(&self, part: &BTreeSet<usize>) -> Times {
        let mut rounds: BTreeMap<i32, (usize, u64)> = BTreeMap::new();
        for (_, place) in self.iterators.asked.iter().filter(|(at, _)| part.contains(at)) {
            let begun = self.iterators.begun.iter().filter(|(_, begun, _)| begun == place);
            if let Some((at, _, most)) = begun.max_by_key(|(_, _, rounds)| *rounds) {
                rounds.insert(*place, (*at, *most));
            }
        }
        let begin = rounds.values().map(|(at, _)| *at).min().or(part.first().copied()).unwrap_or_default();
        let iterated = rounds.values().fold(1, |all: u64, (_, rounds)| all.saturating_mul((*rounds).max(1)));
        Times::Walked { begin, iterated }
    }

    /// Strongly connected components that are loops, by Tarjan's algorithm without recursion.
    fn components(&self, nodes: &BTreeSet<usize>, ended: &BTreeSet<i32>) -> Vec<BTreeSet<usize>> {
        let edges = |at: usize| {
            self.successors(at).into_iter().flatten().filter(move |to| {
                nodes.contains(to) && self.found.get(&(at, *to)).is_none_or(|place| !ended.contains(place))
            })
        };
        let mut order: BTreeMap<usize, usize> = BTreeMap::new();
        let mut lowest: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut open, mut is_open) = (Vec::new(), BTreeSet::new());
        let mut components = Vec::new();
        for root in nodes {
            let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut entered = (!order.contains_key(root)).then_some(*root);
            loop {
                if let Some(at) = entered.take() {
                    lowest.insert(at, order.len());
                    order.insert(at, order.len());
                    open.push(at);
                    is_open.insert(at);
                    path.push((at, edges(at).collect()));
                }
                let Some((at, left)) = path.last_mut() else { break };
                let at = *at;
                if let Some(to) = left.pop() {
                    match order.get(&to) {
                        None => entered = Some(to),
                        Some(number) if is_open.contains(&to) => {
                            let low = lowest[&at].min(*number);
                            lowest.insert(at, low);
                        }
                        Some(_) => {}
                    }
                    continue;
                }
                path.pop();
                if let Some((above, _)) = path.last() {
                    let low = lowest[above].min(lowest[&at]);
                    lowest.insert(*above, low);
                }
                if lowest[&at] == order[&at] {
                    let from = open.iter().rposition(|node| *node == at).unwrap_or_default();
                    let part: BTreeSet<usize> = open.drain(from..).collect();
                    for node in &part {
                        is_open.remove(node);
                    }
                    let loops = part.len() > 1 || edges(at).any(|to| to == at);
                    if loops {
                        components.push(part);
                    }
                }
            }
        }
        components
    }
}
